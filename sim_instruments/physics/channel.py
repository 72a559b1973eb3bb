"""Fibre and polarization: how much arrives, and how well its polarization is aligned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim_instruments.model import ChannelModel, ReceiverModel

# The controller's four squeezers act alternately about two orthogonal axes of the Poincare sphere.
_CONTROLLER_AXES = (0, 1, 0, 1)
WANTED = np.array([0.0, 0.0, 1.0])  # the Stokes vector that detectors and interferometer are aligned to


def rotation(axis: int, angle_rad: float) -> NDArray[np.float64]:
    """Rotation of Stokes vectors about coordinate axis 0, 1 or 2; float64 [3, 3]."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle_rad)
    matrix[i, j], matrix[j, i] = -math.sin(angle_rad), math.sin(angle_rad)
    return matrix


def initial_stokes(channel: ChannelModel) -> NDArray[np.float64]:
    """Polarization in front of the controller when the bench starts; unit vector float64 [3]."""
    return rotation(0, channel.polarization_offset_rad) @ WANTED


def alignment(channel: ChannelModel, stokes: NDArray[np.float64], voltages_v: Sequence[float]) -> float:
    """Part of the light in the wanted polarization behind the controller, in [0, 1]."""
    vector = stokes
    for axis, voltage_v in zip(_CONTROLLER_AXES, voltages_v, strict=True):
        vector = rotation(axis, math.pi * voltage_v / channel.polarization_controller_vpi_v) @ vector
    return 0.5 * (1.0 + float(vector @ WANTED))


def walk_on_sphere(
    stokes: NDArray[np.float64], walk_rad2_per_s: float, step_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """One step of a random walk on the Poincare sphere with mean square angle `walk_rad2_per_s` * `step_s`."""
    moved = stokes + rng.normal(0.0, math.sqrt(0.5 * walk_rad2_per_s * step_s), 3)
    return moved / float(np.linalg.norm(moved))


def loss_step_db(channel: ChannelModel, fluctuation_db: float, step_s: float, rng: np.random.Generator) -> float:
    """Next value of the slow loss fluctuation (Ornstein-Uhlenbeck, exact step)."""
    keep = math.exp(-step_s / channel.fluctuation_time_s)
    return keep * fluctuation_db + channel.fluctuation_db * math.sqrt(1.0 - keep * keep) * float(rng.normal())


def polarization_efficiency(receiver: ReceiverModel, aligned: float) -> float:
    """Relative detection efficiency: nanowires absorb the wanted polarization best."""
    return receiver.efficiency_when_crossed + (1.0 - receiver.efficiency_when_crossed) * aligned


def polarization_visibility(receiver: ReceiverModel, aligned: float) -> float:
    """Factor on the visibility: the interferometer's phase differs between the two polarizations."""
    return 1.0 - receiver.visibility_per_misalignment * (1.0 - aligned)
