"""The receiver's optics: where the light of a slot goes, as parts per (detector, time bin).

A passive splitter sends `z_arm_ratio` straight to detector 1. The rest passes an interferometer whose arms differ by
the pulse separation, to detectors 2 (constructive for phase 0) and 3. Of the interferometer's light a quarter of the
early pulse leaves per port at the early position, a quarter of the late pulse one separation after the late
position, and between them, at the late position, both overlap and interfere.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sim_instruments.model import ReceiverModel
from sim_instruments.physics.source import from_db


class Outcome(IntEnum):
    """Where a photon can be detected; the columns of `light_parts`."""

    Z_EARLY = 0
    Z_LATE = 1
    X_PLUS = 2
    X_MINUS = 3
    X_PLUS_FIRST = 4
    X_MINUS_FIRST = 5
    X_PLUS_LAST = 6
    X_MINUS_LAST = 7


OUTCOMES = len(Outcome)
OUTCOME_CHANNEL = np.array([1, 1, 2, 3, 2, 3, 2, 3], dtype=np.uint8)
OUTCOME_DELAY_BINS = np.array([0, 1, 1, 1, 0, 0, 2, 2], dtype=np.int64)  # in pulse separations after the slot's start


def light_parts(
    receiver: ReceiverModel, early: float, late: float, crosstalk: float, phase_rad: float, visibility: float
) -> NDArray[np.float64]:
    """Parts of the slot's light per Outcome, float64 [8], sum <= 1.

    early, late: energy in the two bins, sum 1. crosstalk: part of each pulse that sits in the other bin with no phase
    relation. phase_rad: phase between the bins including that of the interferometer.
    """
    e = early * (1.0 - crosstalk) + late * crosstalk
    m = late * (1.0 - crosstalk) + early * crosstalk
    fringe = 0.5 * math.sqrt(early * late) * (1.0 - crosstalk) * visibility * math.cos(phase_rad)
    z = receiver.z_arm_ratio * from_db(receiver.z_arm_loss_db)
    x = (1.0 - receiver.z_arm_ratio) * from_db(receiver.x_arm_loss_db)
    middle = 0.25 * (e + m)
    return np.array(
        [z * e, z * m, x * (middle + fringe), x * (middle - fringe), *[x * 0.25 * e] * 2, *[x * 0.25 * m] * 2]
    )
