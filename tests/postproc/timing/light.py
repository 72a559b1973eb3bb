"""A small independent model of the demo link for timing tests: symbols in, sorted tags out (numpy, seeded).

Channel 1 is behind the straight arm, 2 and 3 behind the interferometer (bit 0, bit 1), pulses 800 ps apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.records import Basis, Gate

SLOT_PS = 1600.0
DELAYS_PS = {1: 0.0, 2: 310.0, 3: -170.0}


@dataclass(frozen=True)
class Light:
    """Parameters of the model; `eta_mu` is the click probability of a slot (signal intensity)."""

    eta_mu: float = 0.04
    decoy_ratio: float = 0.3
    key_share: float = 0.5
    error: float = 0.01
    sigma_ps: float = 40.0
    dark_hz: float = 300.0
    relative_offset: float = 3e-6
    delays_ps: tuple[float, float, float] = (0.0, 310.0, -170.0)
    visibility: float = 0.98
    dead_ps: int = 20_000


def random_symbols(rng: np.random.Generator, slots: int, key_basis: float = 0.75) -> NDArray[np.uint8]:
    """Random TXP symbols: state by basis probability, intensity signal 0.7, decoy 0.3."""
    basis = rng.random(slots) >= key_basis
    state = 2 * basis + rng.integers(0, 2, slots)
    return (state + 16 * (rng.random(slots) < 0.3)).astype(np.uint8)


def gates(width_ps: float = 400.0, light: Light | None = None) -> tuple[Gate, ...]:
    """Gates that fit the model's delays."""
    delay = (light or Light()).delays_ps
    half = width_ps / 2
    return (
        Gate(1, delay[0] - half, width_ps, Basis.Z, 0),
        Gate(1, delay[0] + 800 - half, width_ps, Basis.Z, 1),
        Gate(2, delay[1] + 800 - half, width_ps, Basis.X, 0),
        Gate(3, delay[2] + 800 - half, width_ps, Basis.X, 1),
    )


def tags_of(
    rng: np.random.Generator, symbols: NDArray[np.uint8], light: Light, start_ps: float, total_ps: float
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Tags of `symbols` whose slot 0 begins at receiver time `start_ps`, among dark counts over [0, total_ps)."""
    state, is_decoy = symbols & 15, (symbols >> 4) & 3
    mean = light.eta_mu * np.where(is_decoy == 1, light.decoy_ratio, 1.0)
    photons = rng.poisson(mean)
    slot = np.repeat(np.arange(symbols.size), photons)
    state = state[slot]
    late = np.where(state == 0, 0, np.where(state == 1, 1, rng.integers(0, 2, slot.size)))
    is_x_arm = rng.random(slot.size) >= light.key_share
    is_long = rng.integers(0, 2, slot.size)
    position = late + is_x_arm * is_long
    interferes = is_x_arm & (state >= 2) & (rng.random(slot.size) < 0.5)
    position = np.where(interferes, 1, np.where(is_x_arm & (state >= 2), rng.choice([0, 2], slot.size), position))
    bit = rng.integers(0, 2, slot.size)
    aligned = rng.random(slot.size) < (1 + light.visibility) / 2
    bit = np.where(interferes, np.where(aligned, state - 2, 3 - state), bit)
    channel = np.where(is_x_arm, 2 + bit, 1).astype(np.uint8)
    flip = ~is_x_arm & (rng.random(slot.size) < light.error)
    position = np.where(flip, 1 - position, position)
    delay = np.array((0.0, *light.delays_ps))[channel]
    sent = slot * SLOT_PS + position * SLOT_PS / 2
    time = start_ps + sent * (1 + light.relative_offset) + delay + rng.normal(0, light.sigma_ps, slot.size)
    dark = rng.poisson(light.dark_hz * 3 * total_ps * 1e-12)
    time = np.concatenate([time, rng.random(dark) * total_ps])
    channel = np.concatenate([channel, rng.integers(1, 4, dark).astype(np.uint8)])
    order = np.argsort(time)
    return _dead(np.rint(time[order]).astype(np.int64), channel[order], light.dead_ps)


def _dead(
    time: NDArray[np.int64], channel: NDArray[np.uint8], dead_ps: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Each detector is blind for a while after a click."""
    keep = np.ones(time.size, bool)
    for number in (1, 2, 3):
        index = np.flatnonzero(channel == number)
        last = -(1 << 60)
        for i, t in zip(index.tolist(), time[index].tolist(), strict=True):
            if t - last < dead_ps:
                keep[i] = False
            else:
                last = t
    return time[keep], channel[keep]
