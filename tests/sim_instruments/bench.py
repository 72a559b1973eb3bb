"""A bench ready for light, and the gates of a perfectly calibrated receiver; shared by the tests of the twin."""

from __future__ import annotations

from typing import Any

from sim_instruments.model import bench_model
from sim_instruments.world import World

NOMINAL_BIAS_A = 20e-6
Gate = tuple[int, float, float, int, int]


def world(tables: dict[str, Any] | None = None, seed: int = 1) -> World:
    """A world with the default bench but for `tables`, and all drifts and the interferometer's initial phase at
    zero."""
    still: dict[str, dict[str, Any]] = {
        "channel": {"fluctuation_db": 0.0, "polarization_walk_rad2_per_s": 0.0, "polarization_offset_rad": 0.0},
        "receiver": {
            "interferometer_phase_rad": 0.0,
            "interferometer_drift_rad_per_s": 0.0,
            "interferometer_walk_rad2_per_s": 0.0,
        },
        "clock": {"frequency_walk_per_sqrt_s": 0.0, "phase_walk_ps_per_sqrt_s": 0.0},
    }
    for name, values in (tables or {}).items():
        still[name] = {**still.get(name, {}), **values}
    return World(bench_model({"seed": seed, **still}))


def switch_on(w: World, *, attenuation_db: float = 12.0, key_basis: float = 0.8, signal: float = 0.7) -> None:
    """Everything on, about half a photon per signal slot at 12 dB; the transmitter waits for a session or pattern."""
    w.set_laser(0.060, True)
    w.set_attenuator_db(attenuation_db)
    w.set_modulator_bias(2, 0.0)
    w.set_intensity_level(0, 52_000)
    w.set_intensity_level(1, 23_000)
    z, x = key_basis / 2, (1 - key_basis) / 2
    w.set_state_probabilities([z, z, x, x])
    w.set_intensity_probabilities([signal, 1 - signal])
    detectors_on(w)
    w.set_transmitter_on(True)


def detectors_on(w: World) -> None:
    """Nominal bias and discriminator levels."""
    w.set_detector_enabled(True)
    w.set_detector_bias_a([NOMINAL_BIAS_A] * 4)
    w.set_trigger_levels_v([0.15] * 4)


def gates(width_ps: float = 500.0) -> list[Gate]:
    """Windows centred on the pulses."""
    return [
        (1, -width_ps / 2, width_ps, 0, 0),
        (1, 800 - width_ps / 2, width_ps, 0, 1),
        (2, 800 - width_ps / 2, width_ps, 1, 0),
        (3, 800 - width_ps / 2, width_ps, 1, 1),
    ]
