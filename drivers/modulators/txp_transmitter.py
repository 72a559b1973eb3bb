"""A symbol transmitter that speaks TXP/1 (docs/transmitter-protocol.md), over its control port and its data port.

Control goes through VISA as with every other instrument; look-ups go over a plain socket of their own, so that a big
batch never delays SAFE. The transmitter makes itself safe when the control port has been silent for its HEART time:
`heartbeat` is for idle times, any other command counts as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from drivers.byte_link import ByteLink
from drivers.errors import (
    CommandRejected,
    GarbledReply,
    InstrumentError,
    InterlockOpen,
    ReadBackMismatch,
    SettingOutOfRange,
)
from drivers.instrument import IdnInstrument, LinkedInstrument, Setting, in_range, parse_float, parse_int
from drivers.links import open_link
from drivers.modulators import txp_wire as wire
from drivers.modulators.txp_lookup import LookUpPort
from drivers.roles import Identity, SessionStatus, TransmitterCapabilities

ARM_TIMEOUT_S = 3.0
PHASE_BIAS_LIMITS_V = (-10.0, 10.0)  # if CAP? does not say otherwise
ERROR_QUEUE_LIMIT = 64
INTERLOCK_CODE = 1109
SAFE_STATES = ("OFF", "IDLE", "FAULT")


@dataclass(frozen=True, slots=True)
class _Limits:
    """What CAP? allows: volts of bias channel 0 (least, most), largest DAC word, longest pattern."""

    phase_bias_v: tuple[float, float]
    dac: int
    pattern_slots: int


class TxpTransmitter(IdnInstrument):
    """Symbol transmitter of any make that speaks TXP/1."""

    role: ClassVar[str] = "SymbolTransmitter"
    transport: ClassVar[str] = "visa:TCPIP0::127.0.0.1::5025::SOCKET"
    options: ClassVar[dict[str, str]] = LinkedInstrument.options | {
        "data_resource": "the data port, for example tcp:127.0.0.1:5026"
    }
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("slot_rate_hz", "SLOT:RATE?", parse_float, "slots per second (those of CAP?)"),
        Setting("state_probabilities", "STAT:PROB?", str, "probability of each state, as realised"),
        Setting("intensity_probabilities", "INT:PROB?", str, "probability of each intensity, as realised"),
        Setting("phase_bias_v", "BIAS? 0", parse_float, "interferometer phase actuator", PHASE_BIAS_LIMITS_V),
        Setting("pattern", "PATT?", str, "OFF, or the calibration pattern that is sent"),
        Setting("clock", "CLOC:STAT?", str, "locked,ref_present,pps_age_ns,last_pps_tai_s,freq_err_ppb"),
        Setting("random_source", "RNG:STAT?", str, "health,bits_in,bits_used,underruns,min_fill"),
        Setting("session", "SESS:STAT?", str, "state,id,start_tai_s,slot_now,horizon_low,consumed,cal"),
        Setting("fault_mask", "STAT:QUES?", parse_int, "latched faults"),
        Setting("configuration_hash", "CONF:HASH?", str, "SHA-256 of all settings"),
    )

    def __init__(self, name: str, link: ByteLink, open_data: Callable[[], ByteLink], *, serial: str = "") -> None:
        """`open_data` opens the data port: at once, and again after a look-up that failed half-way."""
        super().__init__(name, link, serial=serial)
        self._order("*CLS")
        self._capabilities, self._limits = self.query("CAP?", _parse_limits)
        self._look_ups = LookUpPort(name, open_data, self._capabilities)
        self._session: int | None = None
        self.invalid_symbols = 0  # since the session was armed

    @classmethod
    def open(cls, name: str, resource: str, *, workspace: Path = Path("."), **options: Any) -> Self:
        data_resource = options.pop("data_resource", None)
        if not isinstance(data_resource, str):
            raise ValueError(f'{name}: the option data_resource is missing, such as "tcp:127.0.0.1:5026"')
        link = open_link(resource, instrument=name, workspace=workspace)
        try:
            return cls(name, link, lambda: open_link(data_resource, instrument=name, workspace=workspace), **options)
        except BaseException:
            link.close()
            raise

    def close(self) -> None:
        super().close()
        self._look_ups.close()

    @property
    def capabilities(self) -> TransmitterCapabilities:
        return self._capabilities

    @property
    def phase_bias_limits_v(self) -> tuple[float, float]:
        return self._limits.phase_bias_v

    def heartbeat(self) -> None:
        """Any command counts; this one changes nothing."""
        self.query("*OPC?", _parse_one)

    def configure_slots(self, slot_rate_hz: float) -> None:
        """Raises SettingOutOfRange unless it is one of `capabilities.slot_rates_hz`."""
        if slot_rate_hz not in self._capabilities.slot_rates_hz:
            raise self._refused(f"slot_rate_hz = {slot_rate_hz!r}", f"one of {self._capabilities.slot_rates_hz}")
        self._order(f"SLOT:RATE {slot_rate_hz:.12g}")
        self._confirm("slot_rate_hz", self.query("SLOT:RATE?", parse_float), slot_rate_hz, 0.5)

    def set_state_probabilities(self, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Returns what the hardware realised, one per state."""
        return self._set_probabilities("STAT:PROB", probabilities, self._capabilities.states)

    def set_intensity_probabilities(self, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Returns what the hardware realised, one per intensity."""
        return self._set_probabilities("INT:PROB", probabilities, self._capabilities.intensities)

    def set_intensity(self, index: int, dac: int, mean_photon_number: float, sigma: float) -> None:
        """Level of an intensity class, and the mean photon number measured for it (NaN: not measured), with sigma."""
        self._check_index(index, self._capabilities.intensities, "intensity")
        in_range(dac, (0, self._limits.dac), what="dac", instrument=self.name)
        if not sigma >= 0 and not np.isnan(sigma):
            raise self._refused(f"sigma = {sigma!r}", "zero or more")
        self._order(f"INT:TABL {index},{dac},{_number_or_nan(mean_photon_number)},{_number_or_nan(sigma)}")

    def set_phase_bias_v(self, voltage_v: float) -> None:
        in_range(voltage_v, self.phase_bias_limits_v, what="phase_bias_v", instrument=self.name)
        self._order(f"BIAS 0,{voltage_v:.6f}")

    def set_pattern_off(self) -> None:
        self._order("PATT OFF")

    def set_pattern(self, symbols: NDArray[np.uint8]) -> None:
        """Repeat these symbols, uint8 [n]; for calibration only."""
        data = np.ascontiguousarray(symbols, np.uint8)
        if not 0 < data.size <= self._limits.pattern_slots:
            raise self._refused(f"a pattern of {data.size} symbols", f"1 to {self._limits.pattern_slots} symbols")
        self._order(b"PATT:DATA " + wire.encode_block(data.tobytes()))
        self._order("PATT USER")

    def arm_session(self, session_id: str) -> None:
        """Start at once, slot 0 first. Raises SettingOutOfRange for another id than 16 hex digits, InterlockOpen."""
        if not re.fullmatch(r"[0-9a-fA-F]{16}", session_id):
            raise self._refused(f"session_id = {session_id!r}", "16 hexadecimal digits")
        self._order(f"SESS:ARM {session_id.lower()},IMM", timeout_s=ARM_TIMEOUT_S)
        self._session = int(session_id, 16)
        self._look_ups.start_session()
        self.invalid_symbols = 0

    def session_status(self) -> SessionStatus:
        return self.query("SESS:STAT?", wire.parse_session)

    def stop_session(self) -> None:
        """Light off; what was sent can still be looked up until `end_session`."""
        self._order("SESS:STOP", timeout_s=ARM_TIMEOUT_S)

    def end_session(self) -> None:
        """Forget all symbols."""
        self._order("SESS:END", timeout_s=ARM_TIMEOUT_S)

    def discard_below(self, slot: int) -> None:
        """Erase the symbols of slots below. Raises SettingOutOfRange if negative, CommandRejected if not sent yet."""
        if slot < 0:
            raise self._refused(f"slot = {slot}", "zero or more")
        self._order(f"DISC {slot}")

    def faults(self) -> tuple[str, ...]:
        """Names of the faults that occurred since `clear_faults`."""
        return self.query("STAT:QUES?", wire.parse_faults)

    def clear_faults(self) -> None:
        self._order("STAT:QUES:CLE")

    def make_safe(self) -> None:
        """Light off, attenuator at its most. Raises ReadBackMismatch if a session still runs afterwards."""
        self._order("SAFE")
        state = self.session_status().state
        if state not in SAFE_STATES:
            raise ReadBackMismatch(
                f"state is {state} after SAFE, not one of {', '.join(SAFE_STATES)}",
                instrument=self.name,
                remedy="switch the laser off by hand",
            )

    def look_up(self, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Symbols, uint8 [n], of strictly ascending slots, uint64 [n], at most `capabilities.max_batch` of them.

        Each slot can be read once. All or nothing: CommandRejected means that nothing was consumed. After
        InstrumentTimeout, ConnectionLost or GarbledReply the slots of this batch are lost: they may have been erased
        without having been read. Symbols with bit 7 (`txp_wire.INVALID`) are counted in `invalid_symbols`.
        """
        if self._session is None:
            session_id = self.session_status().session_id
            self._session = int(session_id, 16) if session_id else 0
        symbols = self._look_ups.look_up(self._session, slots)
        self.invalid_symbols += int(np.count_nonzero(symbols & wire.INVALID))
        return symbols

    def _identify(self) -> Identity:
        identity = super()._identify()
        version = self.query("SYST:VERS?", str)
        if not version.startswith("TXP,1."):
            raise self._wrong(f"{identity.vendor} {identity.model} with SYST:VERS {version[:40]!r}", "TXP,1.x")
        return identity

    def _set_probabilities(self, header: str, probabilities: Sequence[float], n: int) -> tuple[float, ...]:
        """Fewer than `n` are filled up with zeros; as many as were given come back."""
        given = tuple(float(p) for p in probabilities)
        is_sound = 0 < len(given) <= n and all(0.0 <= p <= 1.0 for p in given)
        if not is_sound or abs(sum(given) - 1.0) > 1e-9:
            raise self._refused(f"{header} {given}", f"at most {n} probabilities that add up to 1")
        filled = given + (0.0,) * (n - len(given))
        self._order(f"{header} " + ",".join(f"{p:.9f}" for p in filled))
        realised = self.query(f"{header}?", wire.parse_probabilities)
        if len(realised) != n:
            raise GarbledReply(f"{header}? gives {len(realised)} probabilities of {n}", instrument=self.name)
        return realised[: len(given)]

    def _check_index(self, index: int, n: int, what: str) -> None:
        if not 0 <= index < n:
            raise self._refused(f"{what} {index}", f"0 to {n - 1}")

    def _order(self, command: str | bytes, *, timeout_s: float | None = None) -> None:
        """A command that is answered OK."""
        self.command(command, wire.parse_ok, timeout_s=timeout_s)

    def _exchange(self, command: bytes, timeout_s: float) -> str:
        reply = super()._exchange(command, timeout_s)
        refusal = wire.parse_error_line(reply)
        if refusal is None:
            return reply
        raise self._rejected(command, self._drain_errors() or (refusal,))

    def _drain_errors(self) -> tuple[tuple[int, str], ...]:
        entries: list[tuple[int, str]] = []
        while len(entries) < ERROR_QUEUE_LIMIT:
            reply = super()._exchange(b"SYST:ERR?", self.timeout_s)
            entry = self._parsed(b"SYST:ERR?", reply, wire.parse_error_entry)
            if entry[0] == 0:
                break
            entries.append(entry)
        return tuple(entries)

    def _rejected(self, command: bytes, entries: tuple[tuple[int, str], ...]) -> InstrumentError:
        asked = command[:40].decode("ascii", "replace")
        if any(code == INTERLOCK_CODE for code, _ in entries):
            return InterlockOpen(
                f"{asked!r} was refused: {entries[-1][1]}",
                instrument=self.name,
                remedy="close the interlock, look why it opened, then clear_faults()",
            )
        return CommandRejected(entries, instrument=self.name, remedy=f"look at what {asked!r} asked for")

    def _refused(self, what: str, allowed: str) -> SettingOutOfRange:
        return SettingOutOfRange(f"{what} was not sent: allowed is {allowed}", instrument=self.name, remedy=allowed)


def _number_or_nan(value: float) -> str:
    return "NAN" if math.isnan(value) else f"{value:.9g}"


def _parse_limits(text: str) -> tuple[TransmitterCapabilities, _Limits]:
    """Both readings of CAP?; ValueError names the key that is wrong."""
    capabilities, document = wire.parse_capabilities(text)
    return capabilities, _Limits(
        phase_bias_v=wire.parse_bias_limits(document, 0) or PHASE_BIAS_LIMITS_V,
        dac=2 ** wire.whole_of(document, "dac_bits", 1, 32, 16) - 1,
        pattern_slots=wire.whole_of(
            document, "max_pattern_slots", 1, wire.MAX_BLOCK_BYTES, capabilities.max_block_bytes
        ),
    )


def _parse_one(text: str) -> int:
    if text != "1":
        raise ValueError("1 was expected")
    return 1
