"""The station owns one node's instruments: opens them together, finds them by role, makes them safe on every way out.

Ways out: the end of a `with` block, an exception in it, `make_safe()` by hand, and the end of the interpreter (atexit,
for a caller that forgot). Signals are turned into ordinary ends by `controller.stopping`. kill -9 cannot be caught: for
that case instruments have their own watchdogs, and the next start begins with `make_safe`.

A hardware step that fails latches the station broken, durably: no further step until a person has looked and
acknowledged.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from controller.config import InstrumentSection, NodeConfig
from controller.errors import ConfigurationError, InstrumentFailure, StationBroken, StationNotSafe
from drivers.errors import InstrumentError, WrongInstrument
from drivers.roles import Instrument, Laser, SymbolTransmitter, VariableAttenuator
from drivers.roles import Snapshot as InstrumentSnapshot

Role = TypeVar("Role")
Opener = Callable[[str, InstrumentSection, Path], Instrument]

BROKEN_FILE = "station.broken"
_LIGHT_FIRST: tuple[type[Any], ...] = (SymbolTransmitter, Laser, VariableAttenuator)


def open_configured(name: str, section: InstrumentSection, workspace: Path) -> Instrument:
    """Open one instrument as configured, identify it, and refuse it if it is another unit than the one named.

    Raises InstrumentError; ValueError for a driver or an option that does not exist.
    """
    from drivers.registry import open_instrument  # slow: pulls in pyvisa and pyserial

    instrument: Instrument = open_instrument(section.driver, name, section.resource, workspace, **section.options)
    if section.serial and instrument.identity.serial != section.serial:
        found = instrument.identity.serial
        instrument.close()
        raise WrongInstrument(
            f"serial number {found!r}, the configuration names {section.serial!r}",
            instrument=name,
            remedy="check cabling, or correct instruments.*.serial",
        )
    return instrument


class Station:
    """All instruments of a node. Thread-safe as far as different instruments are concerned; calls block."""

    def __init__(self, instruments: Mapping[str, Instrument], *, state_dir: Path) -> None:
        self._instruments = dict(instruments)
        self._broken_file = state_dir / BROKEN_FILE
        self._is_closed = False
        atexit.register(self._at_exit)

    @classmethod
    def open(cls, config: NodeConfig, workspace: Path, *, opener: Opener = open_configured) -> Station:
        """Open and identify all instruments of the configuration at the same time.

        Raises InstrumentFailure that lists every instrument that failed (those that opened are made safe and closed),
        or ConfigurationError if a driver or an option does not exist.
        """
        sections = config.instruments
        with ThreadPoolExecutor(max_workers=len(sections), thread_name_prefix="open") as pool:
            pending = {name: pool.submit(opener, name, section, workspace) for name, section in sections.items()}
        opened, failures, wrong = _collect(pending)
        state_dir = config.state_dir(workspace)
        state_dir.mkdir(parents=True, exist_ok=True)
        station = cls(opened, state_dir=state_dir)
        if not failures and not wrong:
            return station
        with contextlib.suppress(StationNotSafe):  # what did not open is the fault to report
            station.close()
        if wrong:
            raise ConfigurationError("\n".join(wrong), remedy="qkd doctor lists the drivers and their options")
        raise InstrumentFailure(
            f"{len(failures)} of {len(sections)} instruments failed:\n  " + "\n  ".join(failures), failures=failures
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the instruments, in the order of the configuration."""
        return tuple(self._instruments)

    def instrument(self, name: str) -> Instrument:
        """One instrument by its name in the configuration."""
        return self._instruments[name]

    def find(self, role: type[Role]) -> Role:
        """The only instrument that fulfils a role (a Protocol of `drivers.roles`).

        Raises ConfigurationError if there is none, or more than one.
        """
        found = {name: device for name, device in self._instruments.items() if fulfils(type(device), role)}
        if len(found) != 1:
            raise ConfigurationError(
                f"the station has {len(found)} instruments for the role {role.__name__}"
                + (f" ({', '.join(found)})" if found else f" among {', '.join(self._instruments) or 'none'}"),
                remedy="give exactly one in [instruments]",
            )
        return next(iter(found.values()))  # type: ignore[return-value]  # structural, checked above

    def snapshot(self) -> dict[str, InstrumentSnapshot]:
        """Every readable setting of every instrument, read concurrently. Raises InstrumentFailure naming all faults."""
        read, failures = _apply(self._instruments, lambda device: device.snapshot())
        if failures:
            raise InstrumentFailure("snapshot failed:\n  " + "\n  ".join(failures), failures=failures)
        return read

    @contextlib.contextmanager
    def step(self, description: str) -> Iterator[None]:
        """Wrap one hardware step: refused while the station is broken; an InstrumentError in it latches it broken.

        Raises StationBroken on entry; InstrumentFailure from the step.
        """
        self.require_sound()
        try:
            yield
        except InstrumentError as error:
            self.latch_broken(f"{description}: {error}")
            raise InstrumentFailure(f"{description}: {error}", failures=(str(error),)) from error

    @property
    def broken(self) -> str:
        """Why the station is latched broken; "" if it is sound. Survives a restart."""
        try:
            return self._broken_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def latch_broken(self, reason: str) -> None:
        """Refuse all further hardware steps until `acknowledge`."""
        self._broken_file.write_text(reason, encoding="utf-8")

    def acknowledge(self) -> None:
        """A person has looked: the station may be used again."""
        self._broken_file.unlink(missing_ok=True)

    def require_sound(self) -> None:
        """Raises StationBroken if an earlier step failed and nobody has acknowledged it."""
        if reason := self.broken:
            raise StationBroken(
                f"station latched broken: {reason}", remedy="look at the instrument, then qkd doctor --acknowledge"
            )

    def make_safe(self) -> None:
        """Light off first, then everything else, all of it tried. Raises StationNotSafe naming every failure."""
        emitting = {name: device for name, device in self._instruments.items() if _emits_light(device)}
        others = {name: device for name, device in self._instruments.items() if name not in emitting}
        failures: list[str] = []
        for group in (emitting, others):
            failures += _apply(group, lambda device: device.make_safe())[1]
        if failures:
            raise StationNotSafe(
                "not confirmed safe; look, and switch the light off by hand:\n  " + "\n  ".join(failures),
                failures=failures,
            )

    def close(self) -> None:
        """Make safe, then close all links; idempotent. Raises StationNotSafe after closing everything."""
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self._at_exit)
        try:
            self.make_safe()
        finally:
            _apply(self._instruments, lambda device: device.close())

    def __enter__(self) -> Station:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _at_exit(self) -> None:
        """The interpreter ends and nobody closed us: one after the other, because no thread can be started any more."""
        self._is_closed = True
        for device in sorted(self._instruments.values(), key=_emits_light, reverse=True):
            try:
                device.make_safe()
                device.close()
            except (InstrumentError, OSError) as error:
                print(f"station: {device.name} is not confirmed safe: {error}", file=sys.stderr)


def fulfils(device: type[object], role: type[object]) -> bool:
    """Whether a class has every public member of a role's Protocol (nothing is called, unlike isinstance)."""
    members = {
        member
        for base in role.__mro__
        if getattr(base, "_is_protocol", False)
        for member in vars(base)
        if not member.startswith("_")
    }
    return all(hasattr(device, member) for member in members)


def _emits_light(device: Instrument) -> bool:
    return any(fulfils(type(device), role) for role in _LIGHT_FIRST)


def _apply(devices: Mapping[str, Instrument], action: Callable[[Instrument], Any]) -> tuple[dict[str, Any], list[str]]:
    """Run an action on all devices at once. Returns results by name and the lines of those that failed."""
    if not devices:
        return {}, []
    pool = ThreadPoolExecutor(max_workers=len(devices), thread_name_prefix="station")
    with pool:
        pending = {name: pool.submit(action, device) for name, device in devices.items()}
    results, failures, wrong = _collect(pending)
    return results, failures + wrong


def _collect(pending: Mapping[str, Future[Any]]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Results by name, lines of instrument and system faults, lines of configuration faults."""
    results: dict[str, Any] = {}
    failures: list[str] = []
    wrong: list[str] = []
    for name, future in pending.items():
        try:
            results[name] = future.result()
        except InstrumentError as error:
            failures.append(str(error) if error.instrument else f"{name}: {error}")
        except OSError as error:
            failures.append(f"{name}: {error}")
        except (TypeError, ValueError, KeyError) as error:
            wrong.append(f"instruments.{name}: {error}")
    return results, failures, wrong
