"""What all drivers share: questions and answers over a byte link, strict limits, retries, identity, snapshot.

Rules that hold for every driver:

* A question that fails (silence, garbage) is asked once more after resynchronising; a command never is, because
  nobody knows whether it was carried out.
* Input that nobody asked for is never read as an answer: it is thrown away before the next question, and then the
  instrument has to answer a question whose answer is known (its identity) before anything else is believed.
* A value outside its limits is refused before a byte is sent; nothing is clipped.
* Leaving the `with` block makes the instrument safe and closes it.
"""

from __future__ import annotations

import math
import re
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from drivers.byte_link import QUIET_S, SETTLE_LIMIT_S, ByteLink
from drivers.errors import (
    GarbledReply,
    InstrumentError,
    InstrumentTimeout,
    ReadBackMismatch,
    SettingOutOfRange,
    WrongInstrument,
)
from drivers.links import open_link
from drivers.roles import Identity, Snapshot

Value = float | int | str | bool
T = TypeVar("T")

MAX_LINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that can be read, for `read`, `snapshot` and the help texts.

    name: with its unit. query: what is sent. parse: text to value, ValueError if it is none.
    limits: (least, most) of what may be set, None if it is only measured.
    """

    name: str
    query: str
    parse: Callable[[str], Value]
    meaning: str
    limits: tuple[float, float] | None = None


def parse_float(text: str) -> float:
    """A finite decimal number. ValueError otherwise (`nan`, `inf`, underscores, text)."""
    value = float(text) if "_" not in text else math.nan
    if not math.isfinite(value):
        raise ValueError("a finite number was expected")
    return value


def parse_int(text: str) -> int:
    """A decimal integer. ValueError otherwise."""
    if not text.isascii() or not text.strip().lstrip("+-").isdigit():
        raise ValueError("an integer was expected")
    return int(text)


def parse_bool(text: str) -> bool:
    """`0` or `1`. ValueError otherwise."""
    if text.strip() not in ("0", "1"):
        raise ValueError("0 or 1 was expected")
    return text.strip() == "1"


def parse_scaled(scale: float) -> Callable[[str], float]:
    """A parser for numbers in another unit than ours: value times `scale`."""
    return lambda text: parse_float(text) * scale


def _with_raw(parse: Callable[[str], Value]) -> Callable[[str], tuple[str, Value]]:
    return lambda text: (text, parse(text))


def in_range(value: float, limits: tuple[float, float], *, what: str, instrument: str) -> float:
    """`value` if it lies within the limits (both included). Raises SettingOutOfRange otherwise, also for NaN."""
    least, most = limits
    if not least <= value <= most:
        raise SettingOutOfRange(
            f"{what} = {value!r} is outside {least:g} to {most:g}; nothing was sent",
            instrument=instrument,
            remedy=f"a value from {least:g} to {most:g}",
        )
    return value


class LinkedInstrument(ABC):
    """Base of the drivers. A subclass says how it identifies itself and how it is made safe."""

    role: ClassVar[str] = ""
    transport: ClassVar[str] = ""  # for help: what the resource string looks like
    options: ClassVar[dict[str, str]] = {
        "serial": "refuse any other serial number"
    }  # keyword of the constructor -> meaning
    settings: ClassVar[tuple[Setting, ...]] = ()
    terminator: ClassVar[bytes] = b"\n"
    timeout_s: ClassVar[float] = 1.0

    def __init__(self, name: str, link: ByteLink, *, serial: str = "") -> None:
        """Identify what is on the other side of `link`. `serial`: refuse any other serial number, if given.

        Raises WrongInstrument, and whatever the link raises.
        """
        self.name = name
        self._link = link
        self._lock = threading.RLock()
        self._is_out_of_step = False
        self._is_synchronising = False
        self._finalizer = weakref.finalize(self, link.close)
        self._identity = self._identify()
        if serial and self._identity.serial != serial:
            raise self._wrong(f"serial number {self._identity.serial!r}", f"serial number {serial!r}")

    @classmethod
    def open(cls, name: str, resource: str, *, workspace: Path = Path("."), **options: Any) -> Self:
        """Open the link that `resource` names and identify the instrument. Closes the link if that fails."""
        link = open_link(resource, instrument=name, workspace=workspace)
        try:
            return cls(name, link, **options)
        except BaseException:
            link.close()
            raise

    @property
    def identity(self) -> Identity:
        return self._identity

    @abstractmethod
    def _identify(self) -> Identity:
        """Ask who is there. Raises WrongInstrument if it is not what this driver speaks to."""

    @abstractmethod
    def make_safe(self) -> None:
        """Idempotent; ends in a read-back; raises if the instrument is not safe."""

    def snapshot(self) -> Snapshot:
        """Every readable setting with the raw reply it came from."""
        values: dict[str, Value] = {}
        raw: dict[str, str] = {}
        for setting in self.settings:
            raw[setting.name], values[setting.name] = self.query(setting.query, _with_raw(setting.parse))
        return Snapshot(self._identity, values, raw)

    def read_setting(self, name: str) -> Value:
        """The present value of a setting of the table."""
        setting = next(setting for setting in self.settings if setting.name == name)
        return self.query(setting.query, setting.parse)

    def query(self, command: str, parse: Callable[[str], T], *, timeout_s: float | None = None) -> T:
        """Ask, and once more if the first answer does not come or makes no sense (unless the one before failed too)."""
        with self._lock:
            may_repeat = not self._is_out_of_step and not self._is_synchronising
            try:
                return self._ask(command, parse, timeout_s)
            except (InstrumentTimeout, GarbledReply):
                if not may_repeat:
                    raise
                return self._ask(command, parse, timeout_s)

    def command(self, command: str | bytes, parse: Callable[[str], T], *, timeout_s: float | None = None) -> T:
        """Send something that changes the instrument and is answered. Never repeated."""
        with self._lock:
            return self._ask(command, parse, timeout_s)

    def tell(self, command: str) -> None:
        """Send something that changes the instrument and is not answered."""
        with self._lock:
            self._get_in_step()
            self._link.write(command.encode("ascii") + self.terminator)

    def close(self) -> None:
        """Close the link. Idempotent; does not make safe."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.make_safe()
        except InstrumentError as unsafe:
            if error is None:
                raise
            error.add_note(f"and it could not be made safe: {unsafe}")
        finally:
            self.close()

    def _ask(self, command: str | bytes, parse: Callable[[str], T], timeout_s: float | None) -> T:
        self._get_in_step()
        data = command.encode("ascii") if isinstance(command, str) else command
        try:
            reply = self._exchange(data, self.timeout_s if timeout_s is None else timeout_s)
            return self._parsed(data, reply, parse)
        except (InstrumentTimeout, GarbledReply):
            self._is_out_of_step = True
            raise

    def _parsed(self, command: bytes, reply: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(reply)
        except ValueError as error:
            asked = command[:40].decode("ascii", "replace")
            raise GarbledReply(
                f"{asked!r} was answered {reply[:80]!r}: {error}",
                instrument=self.name,
                remedy="check model, firmware and cable",
            ) from error

    def _exchange(self, command: bytes, timeout_s: float) -> str:
        """One line out, one line back. Overridden where an instrument frames its answers otherwise."""
        self._link.write(command + self.terminator)
        return self._decoded(self._link.read_until(self.terminator, timeout_s, MAX_LINE_BYTES))

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise GarbledReply(
                f"reply is no text: {raw[:60]!r}", instrument=self.name, remedy="check baud rate and model"
            ) from error

    def _get_in_step(self) -> None:
        """Before anything is sent: nothing unread, nothing under way."""
        if self._link.drain():
            self._is_out_of_step = True
        if self._is_out_of_step:
            self._wait_for_silence()
            self._is_out_of_step = False
            self._is_synchronising = True
            try:
                self._synchronise()
            except InstrumentError:
                self._is_out_of_step = True
                raise
            finally:
                self._is_synchronising = False

    def _wait_for_silence(self) -> None:
        limit = time.monotonic() + SETTLE_LIMIT_S
        time.sleep(QUIET_S)
        while self._link.drain():
            if time.monotonic() > limit:
                raise GarbledReply("it keeps sending without being asked", instrument=self.name, remedy="restart it")
            time.sleep(QUIET_S)

    def _synchronise(self) -> None:
        """Ask something whose answer is known. Default: who is there, which must be who was there at opening."""
        known = getattr(self, "_identity", None)
        if known is not None and (found := self._identify()) != known:
            raise self._wrong(repr(found), repr(known))

    def _synchronise_on_line(self, command: bytes, answer: str) -> None:
        """For instruments that answer in lines: ask `command`, drop lines until `answer` comes."""
        self._link.write(command + self.terminator)
        limit = time.monotonic() + self.timeout_s
        while (left := limit - time.monotonic()) > 0:
            line = self._link.read_until(self.terminator, left, MAX_LINE_BYTES)
            if line.decode("ascii", "replace").strip() == answer:
                return
        raise InstrumentTimeout(
            f"it does not find back into step: {command.decode('ascii')} is not answered {answer!r}",
            instrument=self.name,
            remedy="restart it, then open it again",
        )

    def _confirm(self, what: str, is_value: Value, set_value: Value, tolerance: float = 0.0) -> None:
        """Raises ReadBackMismatch if the instrument reports another value than the one that was set."""
        if isinstance(set_value, (int, float)) and isinstance(is_value, (int, float)):
            is_same = abs(is_value - set_value) <= tolerance
        else:
            is_same = is_value == set_value
        if not is_same:
            raise ReadBackMismatch(
                f"{what} was set to {set_value!r} and reads {is_value!r}",
                instrument=self.name,
                remedy="check the instrument's front panel for a limit or a local lock",
            )

    def _wrong(self, found: str, expected: str) -> WrongInstrument:
        return WrongInstrument(
            f"{found} answers where {expected} was expected",
            instrument=self.name,
            remedy="correct `driver`, `resource` or `serial` in the station configuration, or swap the cables",
        )


def identity_from_idn(idn: str) -> Identity:
    """The four fields of an IEEE 488.2 `*IDN?` answer. ValueError if there are not four."""
    fields = [field.strip() for field in idn.split(",")]
    if len(fields) != 4 or not all(field.isprintable() for field in fields):
        raise ValueError("four fields VENDOR,MODEL,SERIAL,FIRMWARE were expected")
    return Identity(*fields)


class IdnInstrument(LinkedInstrument):
    """An instrument that answers in lines and knows `*IDN?`. `model_pattern` is searched in its vendor and model."""

    model_pattern: ClassVar[str] = ""
    _idn: str = ""

    def _identify(self) -> Identity:
        idn, identity = self.query("*IDN?", lambda text: (text, identity_from_idn(text)))
        if not re.search(self.model_pattern, f"{identity.vendor},{identity.model}", re.IGNORECASE):
            raise self._wrong(repr(idn[:80]), f"an instrument like {self.model_pattern!r}")
        self._idn = idn
        return identity

    def _synchronise(self) -> None:
        if self._idn:
            self._synchronise_on_line(b"*IDN?", self._idn)
