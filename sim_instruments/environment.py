"""What drifts by itself, and what an experimenter or an adversary did to the bench. Both frozen; replaced as a
whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sim_instruments.knobs import KnobError, in_range
from sim_instruments.model import CHANNELS, BenchModel
from sim_instruments.physics.channel import initial_stokes, loss_step_db, walk_on_sphere


@dataclass(frozen=True, slots=True)
class Environment:
    """Drifting quantities. stokes: float64 [3], polarization in front of the controller."""

    loss_fluctuation_db: float
    stokes: NDArray[np.float64] = field(repr=False)
    interferometer_phase_rad: float


def initial_environment(bench: BenchModel) -> Environment:
    """The bench at simulated time 0."""
    return Environment(0.0, initial_stokes(bench.channel), bench.receiver.interferometer_phase_rad)


def drifted(environment: Environment, bench: BenchModel, step_s: float, rng: np.random.Generator) -> Environment:
    """The environment one drift step later."""
    receiver, channel = bench.receiver, bench.channel
    walk_rad = math.sqrt(receiver.interferometer_walk_rad2_per_s * step_s) * float(rng.normal())
    return Environment(
        loss_step_db(channel, environment.loss_fluctuation_db, step_s, rng),
        walk_on_sphere(environment.stokes, channel.polarization_walk_rad2_per_s, step_s, rng),
        environment.interferometer_phase_rad + receiver.interferometer_drift_rad_per_s * step_s + walk_rad,
    )


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of light, fibre, detectors and clock; the defaults are their absence."""

    fibre_cut: bool = False
    extra_loss_db: float = 0.0
    polarization_jump: float = 0.0  # rad on the Poincare sphere
    phase_jump: float = 0.0  # rad in the interferometer
    laser_fade: float = 1.0  # factor on the power
    detector_dead: int = 0  # channel number, 0 for none
    clock_step_ps: float = 0.0
    dark_count_factor: float = 1.0
    modulator_unlocked: bool = False  # the bias loop cannot hold its point


_LIMITS: dict[str, tuple[float, float, str]] = {
    "extra_loss_db": (0.0, 200.0, "dB"),
    "polarization_jump": (-math.pi, math.pi, "rad"),
    "phase_jump": (-math.pi, math.pi, "rad"),
    "laser_fade": (0.0, 2.0, ""),
    "detector_dead": (0, CHANNELS, ""),
    "clock_step_ps": (-1e12, 1e12, "ps"),
    "dark_count_factor": (0.0, 1e6, ""),
}
_CAST: dict[str, Callable[[float], float | int | bool]] = {
    "fibre_cut": bool,
    "modulator_unlocked": bool,
    "detector_dead": int,
}


def with_fault(faults: Faults, name: str, value: float | bool) -> Faults:
    """`faults` with one of them changed. KnobError for an unknown name or a value outside its limits."""
    if name not in Faults.__dataclass_fields__:
        raise KnobError(f"fault {name!r} is unknown; there are {', '.join(Faults.__dataclass_fields__)}")
    if name in _LIMITS:
        least, most, unit = _LIMITS[name]
        in_range(f"fault {name}", float(value), least, most, unit)
    changes: dict[str, float | int | bool] = {name: _CAST.get(name, float)(value)}
    return replace(faults, **changes)  # type: ignore[arg-type]
