"""Which symbol a slot carries: a counter hash of the slot number, or a repeated pattern. Nothing is stored.

The same function serves the light and the transmitter's look-ups, so that they cannot disagree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_instruments.model import INTENSITIES, STATES

_HALF = np.uint64(0xFFFFFFFF)
ROWS = STATES * INTENSITIES  # a row is state * INTENSITIES + intensity


class SymbolLaw(NamedTuple):
    """key: of the hash. state_limits, intensity_limits: uint64 [4] cumulative probabilities times 2^32.
    pattern: uint8 [n] symbol bytes to repeat; empty for none."""

    key: np.uint64
    state_limits: NDArray[np.uint64]
    intensity_limits: NDArray[np.uint64]
    pattern: NDArray[np.uint8]


@njit(nogil=True, cache=True)
def splitmix64(counter: np.uint64) -> np.uint64:
    """The output function of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64-bit words."""
    z = counter + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def symbol_of_slot(slot: np.int64, law: SymbolLaw) -> np.int64:
    """Symbol byte of `slot`: state in bits 0-3, intensity in bits 4-5."""
    if law.pattern.size > 0:
        return np.int64(law.pattern[slot % law.pattern.size])
    word = splitmix64(np.uint64(slot) ^ law.key)
    low, high = word & _HALF, word >> np.uint64(32)
    state, intensity = 0, 0
    while state < STATES - 1 and low >= law.state_limits[state]:
        state += 1
    while intensity < INTENSITIES - 1 and high >= law.intensity_limits[intensity]:
        intensity += 1
    return np.int64(state + 16 * intensity)


@njit(nogil=True, cache=True)
def symbols_of_slots(slots: NDArray[np.int64], law: SymbolLaw) -> NDArray[np.uint8]:
    """Symbol bytes, uint8 [n], of slots int64 [n]."""
    symbols = np.empty(slots.size, np.uint8)
    for i in range(slots.size):
        symbols[i] = symbol_of_slot(slots[i], law)
    return symbols


def limits(probabilities: tuple[float, ...]) -> NDArray[np.uint64]:
    """Cumulative limits of `SymbolLaw`; the last is 2^32 exactly."""
    steps = np.rint(np.cumsum(probabilities) * 2.0**32).astype(np.uint64)
    steps[-1] = 1 << 32
    return steps


def row_probabilities(law: SymbolLaw) -> NDArray[np.float64]:
    """Probability of each (state, intensity), float64 [STATES, INTENSITIES], as realised by the hash or the pattern."""
    if law.pattern.size:
        rows = (law.pattern & 15).astype(np.int64) * INTENSITIES + (law.pattern >> 4 & 3)
        counts = np.bincount(rows, minlength=ROWS)
        return (counts / law.pattern.size).reshape(STATES, INTENSITIES)
    state = np.diff(law.state_limits.astype(np.float64), prepend=0.0) / 2.0**32
    intensity = np.diff(law.intensity_limits.astype(np.float64), prepend=0.0) / 2.0**32
    return np.outer(state, intensity)
