"""Sparse light: the model of light.py for weak links, click by click: seconds of a 40 dB link cost milliseconds.

The symbol of any slot comes from a counter hash, as the transmitter does it; only slots with clicks are looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.postproc.timing.light import SLOT_PS


@dataclass(frozen=True)
class SparseLight:
    """clicks_per_slot: of the signal on all detectors; the rest as in light.Light. clock: phase error of the receiver's
    clock (ps) as a function of time (ps), on top of offset and frequency."""

    clicks_per_slot: float
    relative_offset: float = 0.0
    key_share: float = 0.5
    error: float = 0.015
    sigma_ps: float = 42.0
    dark_hz: float = 1000.0
    delays_ps: tuple[float, float, float] = (0.0, 310.0, -170.0)
    clock: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None

    @property
    def key_clicks_per_slot(self) -> float:
        return self.clicks_per_slot * self.key_share

    @property
    def noise_share(self) -> float:
        """Of gated key clicks: one of three channels' dark counts, in half of the time."""
        dark = self.dark_hz / 3 / 2 * SLOT_PS * 1e-12
        return dark / (dark + self.key_clicks_per_slot)


def symbols_of(slots: NDArray[np.int64], seed: int, key_basis: float = 0.75) -> NDArray[np.uint8]:
    """Symbols from a hash of slot number and seed (splitmix64), in pieces that fit the cache."""
    symbols = np.empty(slots.size, np.uint8)
    for at in range(0, slots.size, 1 << 16):
        z = slots[at : at + (1 << 16)].astype(np.uint64)
        z += np.uint64((seed * 0x9E3779B97F4A7C15) % (1 << 64))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        basis = ((z >> np.uint64(8)) & np.uint64(255)) >= np.uint64(round(256 * key_basis))
        symbols[at : at + (1 << 16)] = 2 * basis + (z & np.uint64(1))
    return symbols


def sparse_tags(
    rng: np.random.Generator, light: SparseLight, seed: int, first_slot: int, slots: int, start_ps: float
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Tags of `slots` slots from `first_slot` (may be negative) on; slot 0 begins at receiver time `start_ps`."""
    count = rng.poisson(light.clicks_per_slot * slots)
    slot = np.sort(rng.integers(first_slot, first_slot + slots, count))
    state = symbols_of(slot, seed)
    late = np.where(state < 2, state, rng.integers(0, 2, count))
    is_x_arm = rng.random(count) >= light.key_share
    position = late + is_x_arm * rng.integers(0, 2, count)
    position = np.where(~is_x_arm & (rng.random(count) < light.error), 1 - position, position)
    channel = np.where(is_x_arm, 2 + rng.integers(0, 2, count), 1)
    sent = slot * SLOT_PS + position * (SLOT_PS / 2)
    dark = rng.poisson(light.dark_hz * slots * SLOT_PS * 1e-12)
    sent = np.concatenate([sent, (first_slot + rng.random(dark) * slots) * SLOT_PS])
    channel = np.concatenate([channel, rng.integers(1, 4, dark)]).astype(np.uint8)
    time = start_ps + sent * (1 + light.relative_offset) + np.array((0.0, *light.delays_ps))[channel]
    if light.clock is not None:
        time += light.clock(sent)
    time += rng.normal(0, light.sigma_ps, time.size)
    order = np.argsort(time)
    return np.rint(time[order]).astype(np.int64), channel[order]
