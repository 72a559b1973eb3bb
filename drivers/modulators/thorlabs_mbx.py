"""Thorlabs MBX modulator bias controller with variable optical attenuator: serial, 115200, carriage return both ways.

Setters are written with a colon and a space (`MZM:MODE: 2`) and are silent, except `MZM:RESET` and `VOA:MODE:`, which
answer `1`. So every setting is confirmed by reading it back. Source: pymeasure's thorlabsmbxseries and its tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar

from drivers.byte_link import ByteLink
from drivers.errors import InstrumentTimeout
from drivers.instrument import (
    IdnInstrument,
    LinkedInstrument,
    Setting,
    in_range,
    parse_bool,
    parse_float,
    parse_int,
    parse_scaled,
)

ATTENUATION_LIMITS_DB = (0.5, 20.0)
HOLD_VOLTAGE_LIMITS_V = (-10.0, 10.0)
ATTENUATION_STEP_DB = 0.005  # what may be lost in the text of a number
SETTLE_LIMIT_S = 5.0
_POLL_S = 0.02


class BiasMode(IntEnum):
    """`MZM:MODE`."""

    OFF = 0
    PEAK = 1
    NULL = 2
    QUADRATURE_POSITIVE = 3
    QUADRATURE_NEGATIVE = 4
    HOLD_QUADRATURE_POSITIVE = 5
    HOLD_QUADRATURE_NEGATIVE = 6
    MANUAL = 7
    POWER_POSITIVE = 8
    POWER_NEGATIVE = 9


def parse_mode(text: str) -> BiasMode:
    """ValueError if there is no such mode."""
    return BiasMode(parse_int(text))


def _one(text: str) -> str:
    if text != "1":
        raise ValueError("1 was expected")
    return text


class Mbx(IdnInstrument):
    """Modulator bias controller and variable attenuator of the transmitter (Thorlabs MBX series)."""

    role: ClassVar[str] = "ModulatorBias, VariableAttenuator"
    transport: ClassVar[str] = "serial:/dev/ttyUSB1?baud=115200"
    options: ClassVar[dict[str, str]] = LinkedInstrument.options | {
        "lock_limit_s": "how long lock_bias waits for the lock, in s (default 60)"
    }
    terminator: ClassVar[bytes] = b"\r"
    model_pattern: ClassVar[str] = r"MBX"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("bias_mode", "MZM:MODE?", parse_mode, "0 off, 1 peak, 2 null, 3/4 quadrature, 7 manual", (0, 9)),
        Setting("is_bias_calibrating", "MZM:CALIBRATING?", parse_bool, "bias calibration under way"),
        Setting("is_bias_locked", "MZM:SETPOINT?", parse_bool, "bias at its operating point"),
        Setting(
            "hold_voltage_v", "MZM:HOLD:VOLTAGE?", parse_scaled(1e-3), "bias in manual mode", HOLD_VOLTAGE_LIMITS_V
        ),
        Setting("bias_voltage_v", "MZM:VOLTAGE?", parse_float, "bias now"),
        Setting("modulator_power_w", "MZM:TAP:MW?", parse_scaled(1e-3), "optical power after the modulator"),
        Setting("is_attenuator_on", "VOA:POWER?", parse_bool, "attenuator in operation", (0, 1)),
        Setting("attenuator_mode", "VOA:MODE?", parse_int, "0 constant attenuation, 1 constant power", (0, 1)),
        Setting("attenuation_db", "VOA:ATTEN?", parse_float, "attenuation set", ATTENUATION_LIMITS_DB),
        Setting("measured_attenuation_db", "VOA:MEASURED?", parse_float, "attenuation measured by its taps"),
        Setting("is_attenuation_settled", "VOA:SETPOINT?", parse_bool, "within 0.1 dB of what is set"),
        Setting("output_power_w", "VOA:TAP:MW?", parse_scaled(1e-3), "optical power after the attenuator"),
    )

    def __init__(self, name: str, link: ByteLink, *, serial: str = "", lock_limit_s: float = 60.0) -> None:
        super().__init__(name, link, serial=serial)
        self._lock_limit_s = in_range(lock_limit_s, (0.0, 600.0), what="lock_limit_s", instrument=name)

    def lock_bias(self) -> None:
        """Lock to the null point and wait until locked. Raises InstrumentTimeout if it does not within the limit."""
        self.set_bias_mode(BiasMode.NULL)
        self._wait_until(self.is_bias_locked, self._lock_limit_s, "the bias is not locked to the null point")

    def is_bias_locked(self) -> bool:
        """At the operating point, and not in the middle of a calibration."""
        return bool(self.read_setting("is_bias_locked")) and not bool(self.read_setting("is_bias_calibrating"))

    def calibrate_bias(self) -> None:
        """Start the controller's own calibration of the modulator; `is_bias_locked` tells when it is over."""
        self.command("MZM:RESET", _one)

    def set_bias_mode(self, mode: BiasMode) -> None:
        self.tell(f"MZM:MODE: {int(mode)}")
        self._confirm("bias_mode", self.read_setting("bias_mode"), int(mode))

    def set_hold_voltage_v(self, voltage_v: float) -> None:
        """Bias of the manual mode, -10 to 10 V in steps of 1 mV."""
        in_range(voltage_v, HOLD_VOLTAGE_LIMITS_V, what="hold_voltage_v", instrument=self.name)
        self.tell(f"MZM:HOLD:VOLTAGE: {round(voltage_v * 1e3)}")
        self._confirm("hold_voltage_v", self.read_setting("hold_voltage_v"), voltage_v, 0.6e-3)

    @property
    def attenuation_limits_db(self) -> tuple[float, float]:
        return ATTENUATION_LIMITS_DB

    def set_attenuation_db(self, attenuation_db: float) -> None:
        """Set the attenuation, switch the attenuator on, and wait until it has settled within 0.1 dB."""
        in_range(attenuation_db, ATTENUATION_LIMITS_DB, what="attenuation_db", instrument=self.name)
        self._attenuate(attenuation_db)
        self._wait_until(
            lambda: bool(self.read_setting("is_attenuation_settled")), SETTLE_LIMIT_S, "the attenuation does not settle"
        )

    def attenuation_db(self) -> float:
        """The attenuation that is set, in dB; `read("measured_attenuation_db")` is what the taps see."""
        return float(self.read_setting("attenuation_db"))

    def make_safe(self) -> None:
        """Most attenuation. The attenuator stays in operation: what it lets through without power is not specified."""
        self._attenuate(ATTENUATION_LIMITS_DB[1])

    def _attenuate(self, attenuation_db: float) -> None:
        self.command("VOA:MODE: 0", _one)
        self.tell(f"VOA:ATTEN: {attenuation_db:g}")
        self.tell("VOA:POWER: 1")
        self._confirm("attenuator_mode", self.read_setting("attenuator_mode"), 0)
        self._confirm("attenuation_db", self.attenuation_db(), attenuation_db, ATTENUATION_STEP_DB)
        self._confirm("is_attenuator_on", self.read_setting("is_attenuator_on"), True)

    def _wait_until(self, is_reached: Callable[[], bool], limit_s: float, failure: str) -> None:
        deadline = time.monotonic() + limit_s
        while not is_reached():
            if time.monotonic() > deadline:
                raise InstrumentTimeout(
                    f"{failure} within {limit_s:g} s",
                    instrument=self.name,
                    remedy="check that light reaches the modulator and the bias cable is connected",
                )
            time.sleep(_POLL_S)
