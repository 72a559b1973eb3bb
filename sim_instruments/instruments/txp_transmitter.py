"""A transmitter that speaks TXP/1: it sends random symbols, remembers them, and tells each once.

Source: the open transmitter protocol TXP/1 with its clarifications: every command is answered by one line on the port
it came in on (a value, a block, `OK`, or `ERR <code>,"<text>"`), each port has an error queue of its own. Control
port: everything; data port: `LOOK`, `DISC`, `*IDN?`, `SYST:ERR?` and `SAFE`.

What the protocol leaves open and this device decides: items of `MON?` and `SELF:TEST?` are separated by one space; the
id of a LOOK block is the session's id; there is no PPS, so that `SESS:ARM` starts at once; the patterns are OFF, CW
(symbol 0 in every slot) and USER; the attenuator and the bias channels above 0 are not built in (-241).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_instruments.faults import FaultKind
from sim_instruments.instruments import txp_wire as wire
from sim_instruments.instruments.base import Conversation, Device, Send
from sim_instruments.instruments.txp_settings import BIAS_LIMIT_V, TxpSettings, numbers, whole
from sim_instruments.instruments.txp_wire import Command, TxpConversation, TxpError
from sim_instruments.knobs import KnobError
from sim_instruments.scpi import ErrorQueue
from sim_instruments.world import World

Commands = dict[str, Callable[[Command], str | bytes]]

SESSION_ID = re.compile(r"[0-9A-Fa-f]{16}")
FAULT_INTERLOCK = 1 << 9
MAX_BATCH = 1 << 21
MAX_BLOCK_BYTES = 16 + 8 * MAX_BATCH
MAX_PATTERN_SLOTS = 1 << 20
HORIZON_SLOTS = 1 << 33


@dataclass(slots=True)
class _Session:
    """Memory of one session: what may still be looked up."""

    id: str = ""
    started_at_s: float = 0.0
    last_read: int = -1
    discarded_below: int = 0
    consumed: int = 0
    is_calibration: bool = False


class TxpTransmitter(Device):
    """Drives the world's modulators, and answers look-ups from the world's symbols."""

    special_faults = frozenset({FaultKind.INTERLOCK})

    def __init__(self, name: str, world: World, *, serial: str = "000042", horizon_slots: int = HORIZON_SLOTS) -> None:
        super().__init__(name)
        self._world = world
        self._serial = serial
        self._horizon_slots = horizon_slots
        self._control_links = 0
        self._heartbeat: threading.Timer | None = None
        self._heartbeat_lock = threading.Lock()
        with world.lock:
            self._settings = TxpSettings(world, self._require_idle)
            self._reset_device()
        self._control = self._control_commands()
        self._data: Commands = {"LOOK": self._look_up, "*IDN?": self._control["*IDN?"], "SAFE": self._control["SAFE"]}

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {
            "control": lambda send: _ControlConversation(self, send),
            "data": lambda send: self._converse(send, self._data),
        }

    def power_on(self) -> None:
        with self._world.lock:
            self._settings.power_on()
            self._reset_device()

    def _reset_device(self) -> None:
        self._faults_latched = 0
        self._pattern_data: NDArray[np.uint8] | None = None
        self._make_safe()

    def special_fault(self, kind: FaultKind) -> None:
        if kind is FaultKind.INTERLOCK:
            with self._world.lock:
                self._faults_latched |= FAULT_INTERLOCK
                self._make_safe()

    def close(self) -> None:
        self._stop_heartbeat()

    def control_opened(self) -> None:
        """A client took the control port: no heartbeat timeout any more."""
        with self._heartbeat_lock:
            self._control_links += 1
        self._stop_heartbeat()

    def control_closed(self) -> None:
        """A client left the control port; after the last one SAFE follows when HEART seconds pass without another."""
        with self._heartbeat_lock:
            self._control_links -= 1
            if self._control_links > 0:
                return
            self._heartbeat = threading.Timer(self._settings.heartbeat_s, self._heartbeat_lost)
            self._heartbeat.daemon = True
            self._heartbeat.start()

    def _stop_heartbeat(self) -> None:
        with self._heartbeat_lock:
            if self._heartbeat is not None:
                self._heartbeat.cancel()
                self._heartbeat = None

    def _heartbeat_lost(self) -> None:
        with self._world.lock:
            self._make_safe()

    def converse_control(self, send: Send) -> TxpConversation:
        return self._converse(send, self._control)

    def _converse(self, send: Send, commands: Commands) -> TxpConversation:
        errors = ErrorQueue()

        def answer(command: Command) -> bytes:
            if command.header == "SYST:ERR?":
                code, text = errors.pop()
                return f'{code},"{text}"\n'.encode("ascii", errors="replace")
            if command.header == "*CLS":
                errors.clear()
                return b"OK\n"
            try:
                if command.header not in commands:
                    raise TxpError(wire.UNDEFINED, f"no such command: {command.header[:40]}")
                with self._world.lock:
                    reply = commands[command.header](command)
            except TxpError as error:
                errors.push(error.code, error.text)
                return wire.error_line(error)
            except KnobError as error:
                errors.push(wire.OUT_OF_RANGE, str(error))
                return wire.error_line(TxpError(wire.OUT_OF_RANGE, str(error)))
            return reply if isinstance(reply, bytes) else f"{reply}\n".encode("ascii")

        return TxpConversation(send, answer, max_block_bytes=MAX_BLOCK_BYTES)

    def _control_commands(self) -> Commands:
        return {
            "*IDN?": lambda _: self._identity(),
            "*RST": lambda _: self._reset(),
            "*OPC?": lambda _: "1",
            "SYST:VERS?": lambda _: "1999.0" if self.faults.is_wrong_identity else "TXP,1.0",
            "CAP?": lambda _: self._capabilities(),
            **self._settings.commands(),
            "SLOT:NOW?": lambda _: f"{self._slot_now()},{time.time_ns()}",
            "RNG:STAT?": lambda _: f"1,{2 * self._session.consumed},{2 * self._session.consumed},0,65536",
            "PATT": self._set_pattern,
            "PATT?": lambda _: self._pattern,
            "PATT:DATA": self._load_pattern,
            "SESS:ARM": self._arm,
            "SESS:STAT?": lambda _: self._session_status(),
            "SESS:STOP": lambda _: self._stop(),
            "SESS:END": lambda _: self._end(),
            "DISC": self._discard,
            "MON?": self._monitor,
            "STAT:QUES?": lambda _: str(self._faults_latched),
            "STAT:QUES:CLE": lambda _: self._clear_faults(),
            "SAFE": lambda _: self._make_safe(),
            "SELF:TEST?": lambda _: "clock,1,0 memory,1,0 rng,1,0.9998 dac,1,0",
        }

    # --- identity and settings ---------------------------------------------------------------------------------------
    def _identity(self) -> str:
        if self.faults.is_wrong_identity:
            return "ACME,AWG-9000,1,2.0"
        return f"OpenQKD,TXP-625,{self._serial},1.0"

    def _reset(self) -> str:
        self.power_on()
        return "OK"

    def _capabilities(self) -> str:
        return json.dumps(
            {
                "protocol": "DECOY",
                "encodings": ["time-bin"],
                "slot_hz": [self._world.bench.source.slot_rate_hz],
                "n_states": 4,
                "n_int": 4,
                "prob_settable": 1,
                "rng": ["SEED"],
                "horizon_slots": self._horizon_slots,
                "lookup_order": "ASC",
                "max_batch": MAX_BATCH,
                "max_block_bytes": MAX_BLOCK_BYTES,
                "dac_bits": 16,
                "patterns": ["OFF", "CW", "USER"],
                "max_pattern_slots": MAX_PATTERN_SLOTS,
                "pps": 0,
                "bias": [{"channel": 0, "limits_v": [-BIAS_LIMIT_V, BIAS_LIMIT_V]}],
                "monitors": ["power_pd", "temp_board", "rng_fill", "mem_fill"],
            },
            separators=(",", ":"),
        )

    # --- patterns, sessions ------------------------------------------------------------------------------------------
    def _load_pattern(self, command: Command) -> str:
        if command.block is None or not command.block:
            raise TxpError(wire.BAD_BLOCK, "PATT:DATA needs a block of symbols")
        if len(command.block) > MAX_PATTERN_SLOTS:
            raise TxpError(wire.TOO_MUCH, f"a pattern has at most {MAX_PATTERN_SLOTS} slots")
        symbols = np.frombuffer(command.block, dtype=np.uint8)
        if np.any(symbols & wire.NOT_IN_PATTERN):
            raise TxpError(wire.OUT_OF_RANGE, "a symbol names a state above 3 or has bit 6 or 7 set")
        self._pattern_data = symbols.copy()
        if self._pattern == "USER":
            self._world.set_pattern(self._pattern_data)
        return "OK"

    def _set_pattern(self, command: Command) -> str:
        self._require_idle()
        wanted = command.argument.upper()
        if wanted not in ("OFF", "CW", "USER"):
            raise TxpError(wire.NO_SUCH_HARDWARE, "patterns are OFF, CW and USER")
        if wanted == "USER" and self._pattern_data is None:
            raise TxpError(wire.WRONG_STATE, "PATT:DATA comes first")
        symbols = {"OFF": None, "CW": np.zeros(1, dtype=np.uint8), "USER": self._pattern_data}[wanted]
        self._pattern = wanted
        self._world.set_pattern(symbols)
        self._world.set_transmitter_on(symbols is not None)
        self._state = "IDLE" if symbols is None else "CALIBRATE"
        return "OK"

    def _arm(self, command: Command) -> str:
        identity, _, how = command.argument.partition(",")
        if SESSION_ID.fullmatch(identity) is None:
            raise TxpError(wire.SYNTAX, "SESS:ARM needs 16 hex digits and PPS or IMM")
        if how.upper() != "IMM":
            raise TxpError(wire.NO_SUCH_HARDWARE, "no PPS here: start with IMM")
        if self._faults_latched:
            raise TxpError(wire.INTERLOCK, f"latched faults {self._faults_latched}: STAT:QUES:CLE first")
        self._require_idle()
        self._session = _Session(identity.lower(), time.time(), is_calibration=self._pattern != "OFF")
        self._world.start_session(self._session.id)
        self._world.set_transmitter_on(True)
        self._state = "RUN"
        return "OK"

    def _stop(self) -> str:
        if self._state in ("ARMED", "RUN"):
            self._world.set_transmitter_on(False)
            self._world.stop_session()
            self._state = "DRAIN"
        return "OK"

    def _end(self) -> str:
        if self._state in ("ARMED", "RUN"):
            raise TxpError(wire.WRONG_STATE, "SESS:STOP comes first")
        if self._state == "DRAIN":
            self._session = _Session()
            self._state = "IDLE"
            self._restore_pattern()
        return "OK"

    def _restore_pattern(self) -> None:
        if self._pattern != "OFF":
            self._state = "CALIBRATE"
            self._world.set_transmitter_on(True)

    def _make_safe(self) -> str:
        self._world.set_transmitter_on(False)
        self._world.stop_session()
        self._world.set_pattern(None)
        self._pattern = "OFF"
        self._session = _Session()
        self._state = "FAULT" if self._faults_latched else "IDLE"
        return "OK"

    def _clear_faults(self) -> str:
        self._faults_latched = FAULT_INTERLOCK if self.faults.kind is FaultKind.INTERLOCK else 0
        if not self._faults_latched and self._state == "FAULT":
            self._state = "IDLE"
        return "OK"

    def _require_idle(self) -> None:
        if self._state not in ("IDLE", "CALIBRATE"):
            raise TxpError(wire.WRONG_STATE, f"not while the state is {self._state}")

    def _slot_now(self) -> int:
        return self._world.slot_now() if self._session.id else 0

    def _horizon_low(self) -> int:
        return max(0, self._slot_now() - self._horizon_slots, self._session.discarded_below)

    def _session_status(self) -> str:
        s = self._session
        return (
            f"{self._state},{s.id or '0' * 16},{int(s.started_at_s)},{self._slot_now()},{self._horizon_low()},"
            f"{s.consumed},{s.is_calibration:d}"
        )

    # --- look-ups ----------------------------------------------------------------------------------------------------
    def _look_up(self, command: Command) -> bytes:
        if command.block is None:
            raise TxpError(wire.BAD_BLOCK, "LOOK needs a block")
        session, slots = wire.parse_look_up(command.block)
        self._check_look_up(session, slots)
        symbols = self._world.symbols(slots)
        if self._session.is_calibration:
            symbols = symbols | np.uint8(wire.CALIBRATION)
        if slots.size:
            self._session.last_read = int(slots[-1])
            self._session.consumed += int(slots.size)
        return wire.look_up_reply(session, symbols, flags=int(np.any(symbols & wire.INVALID)))

    def _check_look_up(self, session: int, slots: NDArray[np.uint64]) -> None:
        """All or nothing: raises TxpError before anything is consumed."""
        if not self._session.id:
            raise TxpError(wire.NOT_ARMED, "no session")
        if session != int(self._session.id, 16):
            raise TxpError(wire.SESSION_MISMATCH, f"the session is {self._session.id}, not {session:016x}")
        if slots.size > MAX_BATCH:
            raise TxpError(wire.TOO_MUCH, f"{slots.size} slots; at most {MAX_BATCH}")
        if not slots.size:
            return
        if np.any(slots[1:] <= slots[:-1]):
            raise TxpError(wire.NOT_ASCENDING, "slots of a batch must ascend strictly")
        first, last = int(slots[0]), int(slots[-1])
        if first == self._session.last_read:
            raise TxpError(wire.ALREADY_READ, f"slot {first} was read before")
        if first < self._session.last_read:
            raise TxpError(wire.NOT_ASCENDING, f"slot {first} comes after slot {self._session.last_read}")
        if last >= self._slot_now():
            raise TxpError(wire.FUTURE_SLOT, f"slot {last} is not sent yet; {self._slot_now()} are")
        if first < self._horizon_low():
            raise TxpError(wire.EXPIRED, f"slot {first} is gone; the lowest is {self._horizon_low()}")

    def _discard(self, command: Command) -> str:
        (slot,) = numbers(command.argument, 1, 1)
        if not self._session.id:
            raise TxpError(wire.NOT_ARMED, "no session")
        if not 0 <= slot <= self._slot_now():
            raise TxpError(wire.OUT_OF_RANGE, f"slot {slot:.0f} is outside 0 to {self._slot_now()}")
        self._session.discarded_below = max(self._session.discarded_below, whole(slot))
        return "OK"

    def _monitor(self, command: Command) -> str:
        power_mw = self._world.laser_power_w() * 1e3
        values = {
            "power_pd": f"{power_mw:.4f},mW,0,0,10,1",
            "temp_board": "41.2,degC,0,0,70,1",
            "rng_fill": "65536,bit,0,4096,65536,1",
            "mem_fill": f"{min(self._slot_now(), self._horizon_slots)},slot,0,0,{self._horizon_slots},1",
        }
        wanted = command.argument.lower()
        if wanted and wanted not in values:
            raise TxpError(wire.NO_SUCH_HARDWARE, f"no monitor {wanted[:20]}")
        return " ".join(f"{name}={value}" for name, value in values.items() if wanted in ("", name))


class _ControlConversation:
    """A client of the control port: its presence is the heartbeat."""

    def __init__(self, device: TxpTransmitter, send: Send) -> None:
        self._device = device
        self._inner = device.converse_control(send)
        device.control_opened()

    def feed(self, data: bytes) -> None:
        self._inner.feed(data)

    def close(self) -> None:
        self._inner.close()
        self._device.control_closed()
