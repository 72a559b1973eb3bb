"""Koheron CTL200: laser diode controller, serial 115200 8N1, lines end `\\r\\n`.

The device echoes the command, answers with one value line (setters too) and then writes its prompt `>>` without a line
end, so that the prompt stands before the next echo. Errors collect in a bit mask: `err` reads it in hexadecimal,
`errclr` clears it and answers `ffffffff`. Source: CTL200 command list as used by pymeasure's driver and its recorded
exchanges.

What the manual's excerpts leave open and this fake decides: the value line of an unknown command or a refused
argument is the unchanged value, or empty; `ilmax` is 200 mA at power-on; no current above the diode's own limit is
accepted; an open interlock sets bit 7 and switches the laser off; `lason 1` meanwhile sets bit 6.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sim_instruments.faults import FaultKind
from sim_instruments.instruments.base import Conversation, Device, LineConversation, Send
from sim_instruments.world import World

ERR_UNKNOWN_COMMAND = 0x10
ERR_BAD_ARGUMENT = 0x20
ERR_ON_WHILE_INTERLOCK = 0x40
ERR_INTERLOCK = 0x80

THERMAL_TIME_S = 0.4  # wall time in which the diode approaches its set temperature
DIODE_VOLTAGE_V = 1.1
DIODE_RESISTANCE_OHM = 1.6
MONITOR_MA_PER_W = 100.0
MOST_CURRENT_MA = 1000.0


@dataclass(slots=True)
class _Setting:
    """A number with its range; `form` is how the device prints it."""

    value: float
    least: float
    most: float
    form: str = "%.3f"


@dataclass(slots=True)
class _State:
    """Everything a power cycle resets. Currents in mA, resistances in ohm, as the device speaks."""

    settings: dict[str, _Setting] = field(
        default_factory=lambda: {
            "ilaser": _Setting(0.0, 0.0, MOST_CURRENT_MA),
            "ilmax": _Setting(200.0, 0.0, MOST_CURRENT_MA),
            "tecon": _Setting(1, 0, 1, "%d"),
            "rtset": _Setting(10_000.0, 1000.0, 100_000.0),
            "pgain": _Setting(0.02, 0.0, 0.1),
            "igain": _Setting(0.01, 0.0, 0.1),
            "dgain": _Setting(0.0, 0.0, 0.1),
            "tprot": _Setting(0, 0, 1, "%d"),
            "rtmin": _Setting(5000.0, 0.0, 1e6),
            "rtmax": _Setting(20_000.0, 0.0, 1e6),
            "vtmin": _Setting(-2.0, -3.0, 0.0),
            "vtmax": _Setting(2.0, 0.0, 3.0),
            "lckon": _Setting(1, 0, 1, "%d"),
            "ldelay": _Setting(10.0, 10.0, 100_000.0),
            "lmodgain": _Setting(0.0, -100_000.0, 100_000.0),
            "tmodgain": _Setting(0.0, -100_000.0, 100_000.0),
            "brate": _Setting(115_200, 9600, 460_800, "%d"),
        }
    )
    is_on: bool = False
    errors: int = 0
    thermistor_start_ohm: float = 11_500.0
    thermistor_since_s: float = 0.0


class KoheronCtl200(Device):
    """Drives the world's laser: `set_laser(current, is_on)`."""

    special_faults = frozenset({FaultKind.INTERLOCK})

    def __init__(self, name: str, world: World, *, serial: str = "0123456789") -> None:
        super().__init__(name)
        self._world = world
        self._serial = serial
        self._user_data = "QKD"
        self._diode_limit_ma = world.bench.source.laser_max_current_a * 1e3
        self._measurements: dict[str, Callable[[], str]] = {
            "vlaser": lambda: f"{self._diode_voltage_v():.3f}",
            "iphd": lambda: f"{self._photodiode_ma():.3f}",
            "itec": lambda: f"{0.12 if self._state.settings['tecon'].value else 0.0:.3f}",
            "vtec": lambda: f"{0.35 if self._state.settings['tecon'].value else 0.0:.3f}",
            "rtact": lambda: f"{self._thermistor_ohm():.3f}",
            "ain1": lambda: "0.000",
            "ain2": lambda: "0.000",
            "tboard": lambda: "34.500",
            "version": lambda: "v0.17",
            "model": lambda: "CTL300-1" if self.faults.is_wrong_identity else "CTL200-0",
            "serial": lambda: self._serial,
            "status": self._status,
            "err": lambda: f"{self._state.errors:x}",
        }
        self.power_on()

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {"control": lambda send: LineConversation(send, self._answer_line, terminator=b"\r\n", max_line=256)}

    def power_on(self) -> None:
        self._state = _State(thermistor_since_s=time.monotonic())
        self._drive_laser()

    def special_fault(self, kind: FaultKind) -> None:
        if kind is FaultKind.INTERLOCK and self._state.settings["lckon"].value:
            self._state.errors |= ERR_INTERLOCK
            self._state.is_on = False
            self._drive_laser()

    def _answer_line(self, line: bytes) -> bytes:
        text = line.replace(b"\x00", b"").decode("ascii", errors="replace").strip()
        if not text:
            return b"\r\n>>"
        return f"{text}\r\n{self._execute(text)}\r\n>>".encode("ascii", errors="replace")

    def _execute(self, text: str) -> str:
        with self._world.lock:
            command, _, argument = text.partition(" ")
            argument = argument.strip()
            if command == "lason":
                return self._switch(argument)
            if command in self._state.settings:
                return self._set_or_get(command, argument)
            if command in self._measurements and not argument:
                return self._measurements[command]()
            if command == "errclr":
                self._state.errors = ERR_INTERLOCK if self._is_interlock_open else 0
                return "ffffffff"
            if command == "save":
                return "config saved"
            if command == "userdata":
                return self._handle_user_data(argument)
            self._state.errors |= ERR_UNKNOWN_COMMAND
            return ""

    def _switch(self, argument: str) -> str:
        if argument == "0":
            self._state.is_on = False
        elif argument == "1":
            if self._state.errors & ERR_INTERLOCK:
                self._state.errors |= ERR_ON_WHILE_INTERLOCK
            else:
                self._state.is_on = True
        elif argument:
            self._state.errors |= ERR_BAD_ARGUMENT
        if argument:
            self._drive_laser()
        return f"{self._state.is_on:d}"

    def _set_or_get(self, command: str, argument: str) -> str:
        setting = self._state.settings[command]
        if argument:
            value = _number(argument)
            if not setting.least <= value <= self._upper_limit(command):
                self._state.errors |= ERR_BAD_ARGUMENT
            else:
                if command == "rtset":
                    self._state.thermistor_start_ohm = self._thermistor_ohm()
                    self._state.thermistor_since_s = time.monotonic()
                setting.value = value
                self._drive_laser()
        return setting.form % setting.value

    def _upper_limit(self, command: str) -> float:
        if command == "ilaser":
            return min(self._state.settings["ilmax"].value, self._diode_limit_ma)
        return self._state.settings[command].most

    def _handle_user_data(self, argument: str) -> str:
        verb, _, data = argument.partition(" ")
        if verb == "write":
            self._user_data = data[:31]
        elif verb:
            self._state.errors |= ERR_BAD_ARGUMENT
        return self._user_data

    @property
    def _is_interlock_open(self) -> bool:
        return self.faults.kind is FaultKind.INTERLOCK and bool(self._state.settings["lckon"].value)

    def _drive_laser(self) -> None:
        self._world.set_laser(self._current_a(), self._state.is_on)

    def _current_a(self) -> float:
        return self._state.settings["ilaser"].value * 1e-3

    def _diode_voltage_v(self) -> float:
        return DIODE_VOLTAGE_V + DIODE_RESISTANCE_OHM * self._current_a() if self._state.is_on else 0.0

    def _photodiode_ma(self) -> float:
        return self._world.laser_power_w() * MONITOR_MA_PER_W

    def _thermistor_ohm(self) -> float:
        target = self._state.settings["rtset"].value if self._state.settings["tecon"].value else 11_500.0
        elapsed_s = time.monotonic() - self._state.thermistor_since_s
        return target + (self._state.thermistor_start_ohm - target) * math.exp(-elapsed_s / THERMAL_TIME_S)

    def _status(self) -> str:
        names = ("vlaser", "itec", "vtec", "rtact", "iphd", "ain1", "ain2")
        return " ".join([f"{self._state.is_on:d}", *(self._measurements[name]() for name in names)])


def _number(text: str) -> float:
    """A decimal number, NaN if it is none (NaN is within no range)."""
    try:
        return float(text)
    except ValueError:
        return math.nan
