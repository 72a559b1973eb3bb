"""What the controller asks of an instrument, by role. Drivers fulfil these Protocols; nobody inherits from them.

Units are in the names. Setters refuse values outside the limits with `SettingOutOfRange` and never clip.
All calls block; the controller puts them on threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from drivers.tags import TagBatch


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered. `substitute` names what was checked where the device has no identity query."""

    vendor: str
    model: str
    serial: str
    firmware: str
    substitute: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every readable setting, with the raw reply it was parsed from."""

    identity: Identity
    values: Mapping[str, float | int | str | bool]
    raw: Mapping[str, str]


class Instrument(Protocol):
    """Common to all. `make_safe` is idempotent, ends in a read-back and raises if the device is not safe."""

    name: str

    @property
    def identity(self) -> Identity: ...
    def snapshot(self) -> Snapshot: ...
    def make_safe(self) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class Laser(Instrument, Protocol):
    """A laser diode controller."""

    def set_current_a(self, current_a: float) -> None: ...
    def current_a(self) -> float: ...
    def set_emission(self, is_on: bool) -> None: ...
    def is_emitting(self) -> bool: ...
    def is_interlock_closed(self) -> bool: ...
    def clear_errors(self) -> None:
        """Forget latched errors, those of the interlock too: only after a person has looked."""


@runtime_checkable
class ModulatorBias(Instrument, Protocol):
    """Keeps a Mach-Zehnder modulator at its operating point."""

    def lock_bias(self) -> None:
        """Lock to the null point and wait until locked. Raises InstrumentTimeout if it does not."""

    def is_bias_locked(self) -> bool: ...


@runtime_checkable
class VariableAttenuator(Instrument, Protocol):
    """An optical attenuator; `attenuation_limits_db` is (least, most)."""

    @property
    def attenuation_limits_db(self) -> tuple[float, float]: ...
    def set_attenuation_db(self, attenuation_db: float) -> None: ...
    def attenuation_db(self) -> float: ...


@runtime_checkable
class PowerMeter(Instrument, Protocol):
    """An optical power meter."""

    def set_wavelength_nm(self, wavelength_nm: float) -> None: ...
    def power_w(self) -> float: ...


@dataclass(frozen=True, slots=True)
class TransmitterCapabilities:
    """Parsed CAP? of a TXP/1 transmitter (docs/transmitter-protocol.md)."""

    protocol: str
    slot_rates_hz: tuple[float, ...]
    states: int
    intensities: int
    max_batch: int
    max_block_bytes: int
    horizon_slots: int
    random_sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """SESS:STAT? of a transmitter. `state` is one of OFF IDLE CALIBRATE ARMED RUN DRAIN FAULT."""

    state: str
    session_id: str
    slot_now: int
    horizon_low: int
    consumed: int
    is_calibration: bool


@runtime_checkable
class SymbolTransmitter(Instrument, Protocol):
    """The part every laboratory builds itself: sends random symbols, remembers them, tells each once.

    Symbol byte: bits 0-3 state index (0 Z0 early, 1 Z1 late, 2 X0 phase 0, 3 X1 phase pi), bits 4-5 intensity index
    (0 signal, 1 decoy), bit 6 calibration slot, bit 7 invalid.
    """

    @property
    def capabilities(self) -> TransmitterCapabilities: ...
    def configure_slots(self, slot_rate_hz: float) -> None: ...
    def set_state_probabilities(self, probabilities: Sequence[float]) -> tuple[float, ...]: ...
    def set_intensity_probabilities(self, probabilities: Sequence[float]) -> tuple[float, ...]: ...
    def set_intensity(self, index: int, dac: int, mean_photon_number: float, sigma: float) -> None: ...
    def set_phase_bias_v(self, voltage_v: float) -> None: ...
    def set_pattern_off(self) -> None: ...
    def set_pattern(self, symbols: NDArray[np.uint8]) -> None:
        """Repeat these symbols (calibration only: a session armed under a pattern never makes a key)."""

    def arm_session(self, session_id: str) -> None:
        """Start at slot 0 as soon as possible. `session_id`: 16 hex digits."""

    def session_status(self) -> SessionStatus: ...
    def stop_session(self) -> None: ...
    def end_session(self) -> None: ...
    def look_up(self, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Symbols of strictly ascending slots; each slot can be read once. All or nothing."""

    def discard_below(self, slot: int) -> None: ...
    def faults(self) -> tuple[str, ...]: ...
    def clear_faults(self) -> None: ...


@runtime_checkable
class PolarizationController(Instrument, Protocol):
    """An electrically driven polarization controller."""

    @property
    def channels(self) -> int: ...
    @property
    def voltage_limits_v(self) -> tuple[float, float]: ...
    def set_voltages_v(self, voltages_v: Sequence[float]) -> None: ...
    def voltages_v(self) -> tuple[float, ...]: ...


@runtime_checkable
class DetectorBank(Instrument, Protocol):
    """Single-photon detectors behind one driver."""

    @property
    def channels(self) -> int: ...
    def set_enabled(self, is_enabled: bool) -> None: ...
    def set_bias_currents_a(self, currents_a: Sequence[float]) -> None: ...
    def bias_currents_a(self) -> tuple[float, ...]: ...
    def set_trigger_levels_v(self, levels_v: Sequence[float]) -> None: ...
    def count_rates_hz(self) -> tuple[float, ...]:
        """Latest complete measurement period, counts per second per channel."""


@runtime_checkable
class TimeTagger(Instrument, Protocol):
    """Delivers `TagBatch`es. Reading slowly holds the device back, it never loses silently."""

    def configure_input(self, channel: int, threshold_v: float, *, is_rising: bool = True) -> None: ...
    def start(self, channels: Sequence[int]) -> None: ...
    def read(self, timeout_s: float) -> TagBatch:
        """The next batch, merged and sorted over channels. Raises InstrumentTimeout after `timeout_s` of silence."""

    def stop(self) -> None: ...
