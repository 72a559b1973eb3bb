"""Arrival histograms: how clicks lie in the slot, per channel. For the eye of the operator; no key depends on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from postproc.timing.clock import ClockSegment

BINS = 400
CHANNELS = 4
MAX_TAGS = 100_000


def arrival_histogram(time_ps: NDArray[np.int64], channel: NDArray[np.uint8], clock: ClockSegment) -> NDArray[np.int64]:
    """int64 [CHANNELS, BINS]: the latest tags (at most MAX_TAGS) of channels 1..4 by phase in the slot, from 0 to one
    period. The clock must hold for these tags."""
    since = (time_ps[-MAX_TAGS:] - clock.anchor_ps).astype(np.float64) - clock.anchor_fraction_ps
    place = np.minimum((np.mod(since, clock.period_ps) * (BINS / clock.period_ps)).astype(np.int64), BINS - 1)
    row = channel[-MAX_TAGS:].astype(np.int64) - 1
    is_known = row < CHANNELS
    counts = np.bincount(row[is_known] * BINS + place[is_known], minlength=CHANNELS * BINS)
    return counts.astype(np.int64).reshape(CHANNELS, BINS)
