"""Arrival histograms against the obvious loop."""

from __future__ import annotations

import numpy as np

from controller.arrivals import BINS, CHANNELS, MAX_TAGS, arrival_histogram
from postproc.timing.clock import ClockSegment


def test_it_is_what_a_loop_counts() -> None:
    rng = np.random.default_rng(1)
    time_ps = np.sort(rng.integers(10**12, 10**12 + 10**9, 3000))
    channel = rng.integers(1, 7, 3000).astype(np.uint8)  # 5 and 6 are not shown
    clock = ClockSegment(1000, 10**12 - 17, 0.25, 1600.00003)
    expected = np.zeros((CHANNELS, BINS), np.int64)
    for t, c in zip(time_ps.tolist(), channel.tolist(), strict=True):
        if c <= CHANNELS:
            phase = (t - clock.anchor_ps - clock.anchor_fraction_ps) % clock.period_ps
            expected[c - 1, int(phase / clock.period_ps * BINS)] += 1
    found = arrival_histogram(time_ps, channel, clock)
    assert np.abs(found - expected).sum() <= 4  # rounding at the edge of a bin
    assert found.sum() == expected.sum()


def test_only_the_latest_tags_count() -> None:
    time_ps = np.arange(MAX_TAGS + 500, dtype=np.int64) * 1600
    time_ps[:500] += 800
    found = arrival_histogram(time_ps, np.ones(time_ps.size, np.uint8), ClockSegment(0, 0, 0.0, 1600.0))
    assert found[0, 0] == MAX_TAGS
    assert found.sum() == MAX_TAGS


def test_no_tags_no_counts() -> None:
    nothing = arrival_histogram(np.empty(0, np.int64), np.empty(0, np.uint8), ClockSegment(0, 0, 0.0, 1600.0))
    assert nothing.shape == (CHANNELS, BINS)
    assert not nothing.any()
