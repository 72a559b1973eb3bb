"""Koheron CTL200 laser diode controller: serial, 115200 8N1.

The instrument echoes what it is sent, answers every command (setters too) with one line, and ends with the prompt
`>>` without a line end; zero bytes may lie between. Errors gather in a bit mask (`err`, hexadecimal) until `errclr`.
Currents are in mA on the wire. Source: command list of the CTL200 manual as in pymeasure's driver and its tests.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import ClassVar

from drivers.byte_link import ByteLink
from drivers.errors import CommandRejected, GarbledReply, InterlockOpen
from drivers.instrument import LinkedInstrument, Setting, in_range, parse_bool, parse_float, parse_scaled
from drivers.roles import Identity

PROMPT = b">>"
MAX_REPLY_BYTES = 1024
CURRENT_LIMITS_A = (0.0, 1.0)
CURRENT_STEP_A = 1e-6  # three decimals of a milliampere on the wire


class Ctl200Error(IntFlag):
    """Bits of `err`."""

    UART_OVERFLOW = 0x01
    COMMAND_BEFORE_PROMPT = 0x02
    UNDER_TEMPERATURE = 0x04
    OVER_TEMPERATURE = 0x08
    UNKNOWN_COMMAND = 0x10
    BAD_ARGUMENT = 0x20
    LASER_ON_WHILE_INTERLOCK = 0x40
    INTERLOCK_TRIGGERED = 0x80


INTERLOCK = Ctl200Error.LASER_ON_WHILE_INTERLOCK | Ctl200Error.INTERLOCK_TRIGGERED


def parse_error_mask(text: str) -> Ctl200Error:
    """The hexadecimal mask of `err`. ValueError if it is none, or has bits that do not exist."""
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
        raise ValueError("a hexadecimal error mask was expected")
    mask = int(text, 16)
    if mask > 0xFF:
        raise ValueError("an error mask of 8 bits was expected")
    return Ctl200Error(mask)


def unwrap_reply(command: str, raw: bytes) -> str:
    """The value line between the echo of `command` and the prompt, empty if it refused. ValueError without echo."""
    text = raw.replace(b"\0", b"").decode("ascii").removesuffix(">>")
    echo, _, value = text.lstrip("\r\n").partition("\r\n")
    if echo.removeprefix(">>").strip() != command:
        raise ValueError(f"its echo {echo[:40]!r} is not the command")
    value = value.removesuffix("\r\n")
    if "\n" in value:
        raise ValueError("one line of reply was expected")
    return value.strip()


class Ctl200(LinkedInstrument):
    """Laser diode and temperature controller of the transmitter (Koheron CTL200)."""

    role: ClassVar[str] = "Laser"
    transport: ClassVar[str] = "serial:/dev/ttyUSB0?baud=115200"
    options: ClassVar[dict[str, str]] = LinkedInstrument.options | {
        "current_limit_a": "largest current this driver will set, in A (0 to 1); the device's own limit holds as well"
    }
    terminator: ClassVar[bytes] = b"\r\n"
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("is_emitting", "lason", parse_bool, "laser on", (0, 1)),
        Setting("current_a", "ilaser", parse_scaled(1e-3), "laser current set", CURRENT_LIMITS_A),
        Setting("current_limit_a", "ilmax", parse_scaled(1e-3), "limit of the laser current", CURRENT_LIMITS_A),
        Setting("laser_voltage_v", "vlaser", parse_float, "voltage across the laser diode"),
        Setting("photodiode_current_a", "iphd", parse_scaled(1e-3), "current of the monitor photodiode"),
        Setting("is_tec_on", "tecon", parse_bool, "temperature control on"),
        Setting("thermistor_set_ohm", "rtset", parse_float, "thermistor resistance wanted"),
        Setting("thermistor_ohm", "rtact", parse_float, "thermistor resistance now"),
        Setting("is_interlock_enabled", "lckon", parse_bool, "hardware interlock in use"),
        Setting("error_mask", "err", parse_error_mask, "errors since the last errclr"),
    )

    def __init__(self, name: str, link: ByteLink, *, serial: str = "", current_limit_a: float | None = None) -> None:
        super().__init__(name, link, serial=serial)
        limit = CURRENT_LIMITS_A[1] if current_limit_a is None else current_limit_a
        in_range(limit, CURRENT_LIMITS_A, what="current_limit_a", instrument=name)
        self._current_limits_a = (0.0, min(limit, float(self.read_setting("current_limit_a"))))

    def _identify(self) -> Identity:
        model = self.query("model", str)
        if not re.match(r"CTL200", model):
            raise self._wrong(repr(model[:80]), "a Koheron CTL200")
        return Identity("Koheron", model, self.query("serial", str), self.query("version", str))

    @property
    def current_limits_a(self) -> tuple[float, float]:
        """What `set_current_a` accepts: the configured limit or the device's, whichever is lower."""
        return self._current_limits_a

    def set_current_a(self, current_a: float) -> None:
        """Set the laser current and read it back. Raises SettingOutOfRange, CommandRejected, ReadBackMismatch."""
        in_range(current_a, self._current_limits_a, what="current_a", instrument=self.name)
        self._set(f"ilaser {current_a * 1e3:.3f}")
        self._confirm("current_a", self.current_a(), current_a, CURRENT_STEP_A)

    def current_a(self) -> float:
        """The current that is set, in A (it flows only while `is_emitting`)."""
        return float(self.read_setting("current_a"))

    def set_emission(self, is_on: bool) -> None:
        """Switch the laser and read it back. InterlockOpen if the interlock tripped, until it is cleared."""
        if is_on and not self.is_interlock_closed():
            raise self._interlock_open()
        self._set(f"lason {int(is_on)}")
        self._confirm("is_emitting", self.is_emitting(), is_on)

    def is_emitting(self) -> bool:
        return bool(self.read_setting("is_emitting"))

    def is_interlock_closed(self) -> bool:
        """False from the moment the interlock opened until `clear_errors`, even if it has been closed again."""
        return not self._errors() & INTERLOCK

    def clear_errors(self) -> None:
        """Forget latched errors, the interlock's too: for after somebody has looked."""
        self.command("errclr", str)

    def make_safe(self) -> None:
        """Laser off. The temperature control stays on."""
        self.command("lason 0", str)
        self._confirm("is_emitting", self.is_emitting(), False)

    def _set(self, command: str) -> None:
        self.command(command, str)
        errors = self._errors()
        if errors & INTERLOCK and command == "lason 1":
            raise self._interlock_open()
        if rejected := errors & ~INTERLOCK:
            if not errors & INTERLOCK:  # errclr would also forget that the interlock tripped
                self.clear_errors()
            raise CommandRejected(
                tuple((int(bit), bit.name or "") for bit in rejected),
                instrument=self.name,
                remedy=f"look at what {command!r} asked for, and at the laser's temperature",
            )

    def _errors(self) -> Ctl200Error:
        return Ctl200Error(self.query("err", parse_error_mask))

    def _interlock_open(self) -> InterlockOpen:
        return InterlockOpen(
            "the interlock is open or was opened; the laser stays off",
            instrument=self.name,
            remedy="close the interlock, look why it opened, then clear_errors()",
        )

    def _exchange(self, command: bytes, timeout_s: float) -> str:
        self._link.write(command + self.terminator)
        raw = self._link.read_until(PROMPT, timeout_s, MAX_REPLY_BYTES)
        try:
            return unwrap_reply(command.decode("ascii"), raw)
        except ValueError as error:
            raise GarbledReply(
                f"{command.decode('ascii')!r} was answered {raw[:60]!r}: {error}",
                instrument=self.name,
                remedy="check baud rate and model",
            ) from error

    def _synchronise(self) -> None:
        """Ask for the model; whatever comes before its echo belongs to older commands."""
        self._link.write(b"model" + self.terminator)
        self._link.read_until(b"model\r\n", self.timeout_s, MAX_REPLY_BYTES)
        self._link.read_until(PROMPT, self.timeout_s, MAX_REPLY_BYTES)
