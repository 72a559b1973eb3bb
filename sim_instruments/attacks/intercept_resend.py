"""Intercept and resend: Eve measures a part of the slots in a random basis and sends what she saw, equally bright.

She raises the error ratio of both bases by a quarter of her fraction and changes no count rate.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_instruments.model import STATES
from sim_instruments.physics.symbols import splitmix64

KEY_MASK = 0x5DEECE66D1B54A32  # makes Eve's choices independent of the symbols, which hash the same counter


@njit(nogil=True, cache=True)
def resent_state(slot: np.int64, state: np.int64, key: np.uint64, fraction: float) -> np.int64:
    """The state that travels on in `slot`. Her choices are a counter hash, so that nothing need be stored."""
    if fraction <= 0.0:
        return state
    word = splitmix64(np.uint64(slot) ^ key)
    if np.float64(word >> np.uint64(11)) * 2.0**-53 >= fraction:
        return state
    basis = np.int64(word & np.uint64(1))
    if basis == state // 2:
        return state
    return 2 * basis + np.int64((word >> np.uint64(1)) & np.uint64(1))


def transition(fraction: float) -> NDArray[np.float64]:
    """Probability, float64 [STATES, STATES], that state (row) travels on as state (column)."""
    matrix = np.eye(STATES) * (1.0 - 0.5 * fraction)
    for state in range(STATES):
        other_basis = 1 - state // 2
        matrix[state, 2 * other_basis : 2 * other_basis + 2] = 0.25 * fraction
    return matrix
