"""Thorlabs PM100D: optical power meter console with a photodiode head, SCPI over USBTMC or a socket, lines end `\\n`.

Source: command set as used by three independent drivers (pymeasure, QMI, InstrumentKit). `SYST:SENS:IDN?` answers name,
serial, calibration message, type, subtype, flags (1 power, 2 energy, 16 response, 32 wavelength, 256 temperature).

What those leave open and this fake decides: with the wavelength set wrongly the reading is off by the ratio of the
wavelengths (a flat quantum efficiency); above the range the reading is 9.9E+37; without a sensor head `MEAS:POW?` puts
-231 into the queue and answers 9.9E+37 too.
"""

from __future__ import annotations

from collections.abc import Callable

from sim_instruments.faults import FaultKind
from sim_instruments.instruments.base import Conversation, Device, LineConversation, Send
from sim_instruments.scpi import CommandTable, ErrorQueue, ScpiError, boolean, number
from sim_instruments.world import World

LEAST_NM, MOST_NM = 800.0, 1700.0
LEAST_RANGE_W, MOST_RANGE_W = 1e-9, 2e-2
OVER_RANGE = "9.90000000E+37"


class ThorlabsPm100d(Device):
    """Reads the world's monitor tap."""

    special_faults = frozenset({FaultKind.NO_SENSOR})

    def __init__(self, name: str, world: World, *, serial: str = "P0012345", wavelength_nm: float = 1550.12) -> None:
        super().__init__(name)
        self._world = world
        self._serial = serial
        self._true_wavelength_nm = wavelength_nm
        self._commands = self._build_commands()
        self.power_on()

    @property
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        return {"control": lambda send: LineConversation(send, self._answer_line, terminator=b"\n", max_line=512)}

    def power_on(self) -> None:
        self._errors = ErrorQueue()
        self._wavelength_nm = 1310.0
        self._range_w = MOST_RANGE_W
        self._is_auto = True
        self._average = 1

    def _answer_line(self, line: bytes) -> bytes | None:
        answers = self._commands.execute(line.decode("ascii", errors="replace").strip(), self._errors)
        return (";".join(answers) + "\n").encode("ascii") if answers else None

    def _build_commands(self) -> CommandTable:
        table = CommandTable()
        table.add("*IDN?", lambda _: self._identity())
        table.add("*RST", lambda _: self.power_on())
        table.add("*CLS", lambda _: self._errors.clear())
        table.add("*OPC?", lambda _: "1")
        table.add("*STB?", lambda _: "4" if len(self._errors) else "0")
        table.add("*ESR?", lambda _: "0")
        table.add("*TST?", lambda _: "0")
        table.add("SYSTem:ERRor?", lambda _: self._next_error())
        table.add("SYSTem:ERRor:NEXT?", lambda _: self._next_error())
        table.add("SYSTem:VERSion?", lambda _: "1999.0")
        table.add("SYSTem:SENSor:IDN?", lambda _: self._sensor_identity())
        for head in ("MEASure:POWer?", "MEASure:SCALar:POWer?", "READ?", "FETCh?"):
            table.add(head, lambda _: self._measure_power())
        for head in ("SENSe:CORRection:WAVelength", "SENSe1:CORRection:WAVelength"):
            table.add(head, self._set_wavelength)
            table.add(head + "?", self._wavelength)
        for head in ("SENSe:POWer:RANGe", "SENSe:POWer:RANGe:UPPer", "SENSe:POWer:DC:RANGe:UPPer"):
            table.add(head, self._set_range)
            table.add(head + "?", lambda _: f"{self._range_w:.8E}")
        table.add("SENSe:POWer:RANGe:AUTO", self._set_auto)
        table.add("SENSe:POWer:RANGe:AUTO?", lambda _: f"{self._is_auto:d}")
        table.add("SENSe:AVERage:COUNt", self._set_average)
        table.add("SENSe:AVERage:COUNt?", lambda _: str(self._average))
        table.add("SENSe:POWer:UNIT?", lambda _: "W")
        table.add("CONFigure:POWer", lambda _: None)
        return table

    def _identity(self) -> str:
        if self.faults.is_wrong_identity:
            return "Thorlabs,ITC4001,M00300001,1.8.0"
        return f"Thorlabs,PM100D,{self._serial},2.6.0"

    def _sensor_identity(self) -> str:
        if self.faults.kind is FaultKind.NO_SENSOR:
            return '"no sensor","","",0,0,0'
        return "S154C,18012345,01-Mar-2026,1,18,289"

    def _next_error(self) -> str:
        code, text = self._errors.pop()
        return f'{code:+d},"{text}"'

    def _measure_power(self) -> str:
        if self.faults.kind is FaultKind.NO_SENSOR:
            self._errors.push(-231, "Data questionable; no sensor")
            return OVER_RANGE
        power_w = self._world.tap_power_w() * self._true_wavelength_nm / self._wavelength_nm
        if self._is_auto:
            return f"{power_w:.8E}"
        return OVER_RANGE if power_w > self._range_w else f"{power_w:.8E}"

    def _set_wavelength(self, argument: str) -> None:
        self._wavelength_nm = number(argument.upper().removesuffix("NM"), LEAST_NM, MOST_NM)

    def _wavelength(self, argument: str) -> str:
        chosen = {"": self._wavelength_nm, "MIN": LEAST_NM, "MAX": MOST_NM}.get(argument.upper())
        if chosen is None:
            raise ScpiError(-224, "Illegal parameter value")
        return f"{chosen:.8E}"

    def _set_range(self, argument: str) -> None:
        self._range_w = number(argument, LEAST_RANGE_W, MOST_RANGE_W)
        self._is_auto = False

    def _set_auto(self, argument: str) -> None:
        self._is_auto = boolean(argument)

    def _set_average(self, argument: str) -> None:
        self._average = int(number(argument, 1, 10_000))
