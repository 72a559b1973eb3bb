"""The symbol byte of the transmitter, taken apart (layout: docs/transmitter-protocol.md).

bits 0-3 state (0 Z0 early, 1 Z1 late, 2 X0 both pulses in phase, 3 X1 both in antiphase), bits 4-5 intensity class
(0 signal, 1 decoy), bit 6 calibration slot, bit 7 invalid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange
from postproc.records import Basis

STATE_MASK = 0x0F
INTENSITY_SHIFT = 4
INTENSITY_MASK = 0x03
NOT_FOR_KEY_MASK = 0xC0  # calibration or invalid: such a slot never enters a key
STATES = 4
INTENSITIES = 2

STATE_BASIS = np.array([Basis.Z, Basis.Z, Basis.X, Basis.X], dtype=np.uint8)
STATE_BIT = np.array([0, 1, 0, 1], dtype=np.uint8)


def split_symbols(symbols: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """(basis, bit, intensity class) of each symbol byte, uint8 [n] each.

    Raises InputOutOfRange when any symbol is marked invalid or calibration, or names a state or a class that the
    protocol does not have: the transmitter disagrees with the configuration, and nothing of the block may be used.
    """
    if symbols.dtype != np.uint8 or symbols.ndim != 1:
        raise InputOutOfRange(f"symbols must be a uint8 vector, not {symbols.dtype} of shape {symbols.shape}")
    state = symbols & STATE_MASK
    intensity = ((symbols >> INTENSITY_SHIFT) & INTENSITY_MASK).astype(np.uint8)
    is_wrong = ((symbols & NOT_FOR_KEY_MASK) != 0) | (state >= STATES) | (intensity >= INTENSITIES)
    if is_wrong.any():
        at = int(np.argmax(is_wrong))
        raise InputOutOfRange(
            f"symbol {at} of {symbols.size} is 0x{int(symbols[at]):02x}: invalid, calibration, or outside "
            f"{STATES} states and {INTENSITIES} intensity classes ({int(is_wrong.sum())} such symbols)"
        )
    return STATE_BASIS[state], STATE_BIT[state], intensity
