"""Thorlabs PM100D and PM100USB optical power meters: SCPI over VISA (USBTMC, or a socket), lines end in LF.

Error queue: `SYST:ERR?` answers `<code>,"<text>"` until the code is 0; the spelling of "no error" differs between
firmwares, so only the integer counts. Over-range readings come as 9.9E37, and a missing sensor as `no sensor`:
neither is a reading. Sources: pymeasure thorlabspm100usb, QMI pm100d with its tests.
"""

from __future__ import annotations

import re
from typing import ClassVar

from drivers.byte_link import ByteLink
from drivers.errors import CommandRejected
from drivers.instrument import IdnInstrument, LinkedInstrument, Setting, in_range, parse_bool, parse_float, parse_int

OVER_RANGE = 9e37
ERROR_QUEUE_LIMIT = 64
SENSOR_MEASURES_POWER = 1  # bit of the sensor's flags
READING_TIMEOUT_S = 5.0  # a reading is averaged in the instrument
AVERAGES_LIMITS = (1, 10_000)


def parse_error(text: str) -> tuple[int, str]:
    """`+0,"No error"` -> (0, "No error"). ValueError if there is no integer code."""
    code, comma, message = text.partition(",")
    if not comma:
        raise ValueError('<code>,"<text>" was expected')
    return parse_int(code), message.strip().strip('"')


def parse_sensor(text: str) -> tuple[str, ...]:
    """name, serial, calibration, type, subtype, flags; only the name if there is no sensor."""
    fields = tuple(field.strip().strip('"') for field in text.split(","))
    if re.search(r"no sensor", fields[0], re.IGNORECASE):
        return ("no sensor",)
    if len(fields) != 6:
        raise ValueError("six fields of a sensor were expected")
    parse_int(fields[5])
    return fields


class Pm100d(IdnInstrument):
    """Optical power meter at the transmitter's monitor tap (Thorlabs PM100D, PM100USB)."""

    role: ClassVar[str] = "PowerMeter"
    transport: ClassVar[str] = "visa:USB0::0x1313::0x8078::P0009368::INSTR"
    options: ClassVar[dict[str, str]] = LinkedInstrument.options
    model_pattern: ClassVar[str] = r"PM100(D|USB)"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("wavelength_nm", "SENS:CORR:WAV?", parse_float, "wavelength of the calibration (limits: the sensor's)"),
        Setting("range_w", "SENS:POW:RANG?", parse_float, "largest power of the present range"),
        Setting("is_range_automatic", "SENS:POW:RANG:AUTO?", parse_bool, "range follows the power", (0, 1)),
        Setting("sensor", "SYST:SENS:IDN?", str, "the sensor head"),
    )

    def __init__(self, name: str, link: ByteLink, *, serial: str = "") -> None:
        super().__init__(name, link, serial=serial)
        self.tell("*CLS")
        self._check_sensor()
        self._wavelength_limits_nm = (
            self.query("SENS:CORR:WAV? MIN", parse_float),
            self.query("SENS:CORR:WAV? MAX", parse_float),
        )

    @property
    def wavelength_limits_nm(self) -> tuple[float, float]:
        """What the connected sensor is calibrated for."""
        return self._wavelength_limits_nm

    def set_wavelength_nm(self, wavelength_nm: float) -> None:
        """Choose the calibration. Raises SettingOutOfRange outside the sensor's range, CommandRejected."""
        in_range(wavelength_nm, self._wavelength_limits_nm, what="wavelength_nm", instrument=self.name)
        self.tell(f"SENS:CORR:WAV {wavelength_nm:.3f}")
        self._check_errors()
        self._confirm("wavelength_nm", self.read_setting("wavelength_nm"), wavelength_nm, 0.01)

    def set_automatic_range(self, is_automatic: bool) -> None:
        self.tell(f"SENS:POW:RANG:AUTO {int(is_automatic)}")
        self._check_errors()
        self._confirm("is_range_automatic", self.read_setting("is_range_automatic"), is_automatic)

    def power_w(self) -> float:
        """Optical power on the sensor, in W; near darkness it may come out slightly negative.

        Raises CommandRejected when there is no reading: over range, no sensor, an entry in the error queue.
        """
        power_w = self.query("MEAS:POW?", parse_float, timeout_s=READING_TIMEOUT_S)
        entries = self._drain_errors()
        if entries:
            raise self._rejected(entries, "look the codes up in its manual")
        if abs(power_w) >= OVER_RANGE:
            self._check_sensor()
            raise self._rejected(((0, "over range"),), "reduce the power, or set_automatic_range(True)")
        return power_w

    def make_safe(self) -> None:
        """A meter sends nothing out; safe means that it answers and its sensor is there."""
        self._check_sensor()

    def _check_sensor(self) -> None:
        sensor = self.query("SYST:SENS:IDN?", parse_sensor)
        if len(sensor) == 1:
            raise self._rejected(((0, "no sensor"),), "plug the sensor in and open the instrument again")
        if not int(sensor[5]) & SENSOR_MEASURES_POWER:
            raise self._rejected(((0, f"sensor {sensor[0]} does not measure power"),), "connect a power sensor")

    def _check_errors(self) -> None:
        if entries := self._drain_errors():
            raise self._rejected(entries, "look the codes up in its manual")

    def _drain_errors(self) -> tuple[tuple[int, str], ...]:
        """All of the error queue, oldest first."""
        entries: list[tuple[int, str]] = []
        while (entry := self.query("SYST:ERR?", parse_error))[0] != 0 and len(entries) < ERROR_QUEUE_LIMIT:
            entries.append(entry)
        return tuple(entries)

    def _rejected(self, entries: tuple[tuple[int, str], ...], remedy: str) -> CommandRejected:
        return CommandRejected(entries, instrument=self.name, remedy=remedy)
