"""How receiver time relates to slots: a straight line that holds for a few milliseconds.

Anchors are integers, so that nothing is lost to rounding after days of running; only the short distance from the anchor
is a float.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.records import Gate


@dataclass(frozen=True, slots=True)
class ClockSegment:
    """Slot `anchor_slot` begins at anchor_ps + anchor_fraction_ps (receiver time), the next one period_ps later.

    start, stop: the tags [start, stop) of the fed batch to which this segment applies; until_ps: the receiver time up
    to which it holds. is_holdover: no light in it, the line is extrapolated. residual_ps: what this batch's tags had
    been off from the prediction; nan in holdover.
    """

    anchor_slot: int
    anchor_ps: int
    anchor_fraction_ps: float
    period_ps: float
    start: int = 0
    stop: int = 0
    until_ps: int = 0
    residual_ps: float = float("nan")
    is_holdover: bool = False

    def slot_at(self, time_ps: int) -> int:
        """The slot that contains receiver time `time_ps`."""
        return self.anchor_slot + int(np.floor((time_ps - self.anchor_ps - self.anchor_fraction_ps) / self.period_ps))

    def slots(self, time_ps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(slot int64 [n], phase in the slot ps float64 [n] in [0, period)) of each tag time."""
        since = (time_ps - self.anchor_ps).astype(np.float64) - self.anchor_fraction_ps
        index = np.floor(since / self.period_ps)
        return index.astype(np.int64) + self.anchor_slot, since - index * self.period_ps


@dataclass(frozen=True, slots=True)
class PulsePhase:
    """Where the pulses lie relative to where the gates expect them. residual_ps: in [-spacing/2, spacing/2);
    strength: mean resultant length 0..1; count: gated tags used; sigma_ps: standard error of residual_ps."""

    residual_ps: float
    strength: float
    count: int
    sigma_ps: float

    @property
    def significance(self) -> float:
        """Rayleigh statistic R^2/M: noise exceeds x with probability exp(-x)."""
        return self.count * self.strength**2


def channel_centres(gates: tuple[Gate, ...]) -> dict[int, float]:
    """Per channel, the centre of one of its gates (they differ by multiples of the pulse spacing), ps."""
    return {gate.channel: gate.start_ps + gate.width_ps / 2 for gate in reversed(gates)}


def pulse_phase(
    time_ps: NDArray[np.int64], channel: NDArray[np.uint8], gates: tuple[Gate, ...], clock: ClockSegment
) -> PulsePhase:
    """Circular mean of (tag - gate centre) modulo the pulse spacing (half a slot), over the channels that have gates.

    time_ps: int64 [n]; channel: uint8 [n]. A tag off by half the spacing counts against the others, so ungated pulses
    of the same comb help and background averages out.
    """
    spacing = clock.period_ps / 2
    centre = np.full(256, np.nan)
    for number, value in channel_centres(gates).items():
        centre[number] = value
    shift = centre[channel]
    is_used = ~np.isnan(shift)
    count = int(is_used.sum())
    if count == 0:
        return PulsePhase(0.0, 0.0, 0, spacing)
    since = (time_ps[is_used] - clock.anchor_ps).astype(np.float64) - clock.anchor_fraction_ps - shift[is_used]
    cycles = since / spacing
    angle = 2 * np.pi * (cycles - np.rint(cycles))
    mean_cos, mean_sin = float(np.cos(angle).mean()), float(np.sin(angle).mean())
    strength = float(np.hypot(mean_cos, mean_sin))
    scatter = np.sqrt(max(1e-12, (1 - strength**2) / 2)) / max(strength, 1e-6)
    return PulsePhase(
        residual_ps=float(np.arctan2(mean_sin, mean_cos) / (2 * np.pi) * spacing),
        strength=strength,
        count=count,
        sigma_ps=float(scatter / np.sqrt(count) / (2 * np.pi) * spacing),
    )
