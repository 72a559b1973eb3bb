"""Which drivers there are. A driver is imported only when an instrument is opened or described."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from drivers.instrument import LinkedInstrument, Setting

DRIVERS: dict[str, str] = {
    "koheron_ctl200": "drivers.lasers.koheron_ctl200:Ctl200",
    "thorlabs_mbx": "drivers.modulators.thorlabs_mbx:Mbx",
    "txp_transmitter": "drivers.modulators.txp_transmitter:TxpTransmitter",
    "thorlabs_pm100d": "drivers.meters.thorlabs_pm100d:Pm100d",
    "ozoptics_epc": "drivers.modulators.ozoptics_epc:Epc",
    "single_quantum_websq": "drivers.detectors.single_quantum_websq:WebSq",
    "id900": "drivers.time_taggers.id900:Id900",
}


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """For help texts: what a driver is for, how its resource string looks, which values it knows."""

    driver: str
    summary: str
    role: str
    transport: str
    options: dict[str, str]
    settings: tuple[Setting, ...]


def driver_class(driver: str) -> type[LinkedInstrument]:
    """Import a driver by its name. Raises ValueError that lists the known names: it is the configuration's fault."""
    if driver not in DRIVERS:
        raise ValueError(f"there is no driver {driver!r}; there are {', '.join(sorted(DRIVERS))}")
    module, _, name = DRIVERS[driver].partition(":")
    found: type[LinkedInstrument] = getattr(import_module(module), name)
    return found


def open_instrument(
    driver: str, name: str, resource: str, workspace: Path = Path("."), **options: Any
) -> LinkedInstrument:
    """Open and identify an instrument. `name`: its key in the configuration; `options`: see `describe(driver).options`.

    Raises ValueError for an unknown driver or option, WrongInstrument, ConnectionLost, InstrumentTimeout.
    """
    found = driver_class(driver)
    if unknown := sorted(set(options) - set(found.options)):
        known = ", ".join(sorted(found.options)) or "none"
        raise ValueError(f"driver {driver!r} has no option {', '.join(unknown)}; it has {known}")
    return found.open(name, resource, workspace=workspace, **options)


def describe(driver: str) -> DriverInfo:
    """What the help says about a driver."""
    found = driver_class(driver)
    summary = (found.__doc__ or "").strip().partition("\n")[0]
    return DriverInfo(driver, summary, found.role, found.transport, dict(found.options), found.settings)
