"""Thorlabs MBX series: modulator bias controller with a variable optical attenuator, serial 115200, `\\r` both ways.

Queries end in `?`; setters are written with a colon and a space (`MZM:MODE: 3`) and are silent, except `MZM:RESET` and
`VOA:MODE:`, which answer `1`. Source: command set as used by pymeasure's driver and its recorded exchanges.

What those leave open and this fake decides: unknown commands and refused values are met with silence; a switched-off
attenuator blocks as much as it can; a mode change takes `LOCK_TIME_S` of wall time to lock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sim_instruments.instruments.base import Conversation, Device, LineConversation, Send
from sim_instruments.knobs import KnobError
from sim_instruments.scpi import ScpiError, number
from sim_instruments.world import World

LOCK_TIME_S = 0.3
CALIBRATION_TIME_S = 0.5
ATTENUATOR_TIME_S = 0.05
LEAST_DB, MOST_DB = 0.5, 20.0
MANUAL_MODE = 7


@dataclass(slots=True)
class _State:
    """Everything a power cycle resets, in the device's own units."""

    mzm_mode: int = 0
    hold_voltage_mv: float = 0.0
    hold_ratio: float = 1000.0
    voa_is_on: bool = False
    voa_mode: int = 0
    attenuation_db: float = MOST_DB
    output_mw: float = 0.01
    lights: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("POWER", "RED", "GREEN", "BLUE", "WHITE"), 0.0)
    )
    mzm_settled_at_s: float = 0.0
    calibrated_at_s: float = 0.0
    voa_settled_at_s: float = 0.0


class ThorlabsMbx(Device):
    """Drives the world's intensity modulator bias and attenuator."""

    def __init__(self, name: str, world: World, *, serial: str = "M00912345") -> None:
        super().__init__(name)
        self._world = world
        self._serial = serial
        optics = world.bench.attenuation
        self._least_db, self._most_db = max(LEAST_DB, optics.variable_min_db), min(MOST_DB, optics.variable_max_db)
        self._queries: dict[str, Callable[[], str]] = {
            "*IDN": self._identity,
            "MZM:MODE": lambda: str(self._state.mzm_mode),
            "MZM:CALIBRATING": lambda: f"{time.monotonic() < self._state.calibrated_at_s:d}",
            "MZM:SETPOINT": lambda: f"{self._is_locked():d}",
            "MZM:HOLD:VOLTAGE": lambda: f"{self._state.hold_voltage_mv:.0f}",
            "MZM:HOLD:RATIO": lambda: f"{self._state.hold_ratio:.0f}",
            "MZM:VOLTAGE": lambda: f"{self._state.hold_voltage_mv / 1000:.3f}",
            "MZM:TAP:MW": lambda: f"{self._input_mw():.4f}",
            "VOA:POWER": lambda: f"{self._state.voa_is_on:d}",
            "VOA:MODE": lambda: str(self._state.voa_mode),
            "VOA:ATTEN": lambda: f"{self._state.attenuation_db:.2f}",
            "VOA:MEASURED": lambda: f"{self._actual_db():.2f}",
            "VOA:ERROR": lambda: f"{self._actual_db() - self._state.attenuation_db:.2f}",
            "VOA:SETPOINT": lambda: f"{self._is_attenuator_settled():d}",
            "VOA:OUTPUT:MW": lambda: f"{self._state.output_mw:.4f}",
            "VOA:TAP:MW": lambda: f"{self._input_mw() * 10 ** (-self._actual_db() / 10):.6f}",
        }
        self._setters: dict[str, tuple[float, float, Callable[[float], str | None]]] = {
            "MZM:MODE": (0, 9, self._set_mzm_mode),
            "MZM:HOLD:VOLTAGE": (-10_000, 10_000, self._set_hold_voltage),
            "MZM:HOLD:RATIO": (250, 10_000, self._set_hold_ratio),
            "VOA:POWER": (0, 1, self._set_voa_power),
            "VOA:MODE": (0, 1, self._set_voa_mode),
            "VOA:ATTEN": (self._least_db, self._most_db, self._set_attenuation),
            "VOA:OUTPUT:MW": (0.01, 100, self._set_output),
        }
        self.power_on()

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {"control": lambda send: LineConversation(send, self._answer_line, terminator=b"\r", max_line=256)}

    def power_on(self) -> None:
        self._state = _State(attenuation_db=self._most_db)
        with self._world.lock:
            self._drive_modulator()
            self._drive_attenuator()

    def _answer_line(self, line: bytes) -> bytes | None:
        text = line.decode("ascii", errors="replace").strip().upper()
        try:
            with self._world.lock:
                answer = self._execute(text)
        except (ScpiError, KnobError):
            return None  # refused: nothing changes and nothing is said
        return None if answer is None else f"{answer}\r".encode("ascii")

    def _execute(self, text: str) -> str | None:
        if text.endswith("?"):
            query = self._queries.get(text[:-1]) or self._light_query(text[:-1])
            return query() if query else None
        if text == "MZM:RESET":
            self._state.calibrated_at_s = time.monotonic() + CALIBRATION_TIME_S
            self._state.mzm_settled_at_s = self._state.calibrated_at_s + LOCK_TIME_S
            return "1"
        head, _, argument = text.rpartition(":")
        if head in self._setters:
            least, most, setter = self._setters[head]
            return setter(number(argument, least, most))
        if head.startswith("RGB:") and head[4:] in self._state.lights:
            self._state.lights[head[4:]] = number(argument, 0, 100)
        return None

    def _light_query(self, head: str) -> Callable[[], str] | None:
        name = head.removeprefix("RGB:").removesuffix(":")
        return (lambda: f"{self._state.lights[name]:.0f}") if name in self._state.lights else None

    def _identity(self) -> str:
        if self.faults.is_wrong_identity:
            return "THORLABS,TLX1,M00000001,1.0.0"
        return f"THORLABS,MBX1550,{self._serial},1.2.0"

    def _set_mzm_mode(self, mode: float) -> None:
        self._state.mzm_mode = int(mode)
        self._state.mzm_settled_at_s = time.monotonic() + LOCK_TIME_S
        self._drive_modulator()

    def _set_hold_voltage(self, voltage_mv: float) -> None:
        self._state.hold_voltage_mv = voltage_mv
        self._drive_modulator()

    def _set_hold_ratio(self, ratio: float) -> None:
        self._state.hold_ratio = ratio

    def _set_voa_power(self, is_on: float) -> None:
        self._state.voa_is_on = bool(is_on)
        self._move_attenuator()

    def _set_voa_mode(self, mode: float) -> str:
        self._state.voa_mode = int(mode)
        self._move_attenuator()
        return "1"

    def _set_attenuation(self, attenuation_db: float) -> None:
        self._state.attenuation_db = attenuation_db
        self._move_attenuator()

    def _set_output(self, power_mw: float) -> None:
        self._state.output_mw = power_mw
        self._move_attenuator()

    def _is_locked(self) -> bool:
        if self._state.mzm_mode == 0 or time.monotonic() < self._state.mzm_settled_at_s:
            return False
        return self._state.mzm_mode == MANUAL_MODE or self._world.modulator_locked()

    def _is_attenuator_settled(self) -> bool:
        return self._state.voa_is_on and time.monotonic() >= self._state.voa_settled_at_s

    def _move_attenuator(self) -> None:
        self._state.voa_settled_at_s = time.monotonic() + ATTENUATOR_TIME_S
        self._drive_attenuator()

    def _actual_db(self) -> float:
        if not self._state.voa_is_on:
            return self._most_db
        if self._state.voa_mode == 0:
            return self._state.attenuation_db
        input_mw = max(self._input_mw(), 1e-12)
        return min(max(10 * math.log10(input_mw / self._state.output_mw), self._least_db), self._most_db)

    def _input_mw(self) -> float:
        return self._world.laser_power_w() * 1e3

    def _drive_modulator(self) -> None:
        self._world.set_modulator_bias(self._state.mzm_mode, self._state.hold_voltage_mv / 1000)

    def _drive_attenuator(self) -> None:
        self._world.set_attenuator_db(self._actual_db())
