"""Coincidences and cross-correlation histograms against their slow twins, whole and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.timing.coincidences import ClockRelation, CoincidenceStream, find_pairs
from postproc.timing.cross_correlation import CrossCorrelation, cross_correlation

times = st.lists(st.integers(-50, 400), max_size=60).map(lambda values: np.array(sorted(values), np.int64))
CHANNEL = np.arange(1, 5, dtype=np.uint8)


def slow_pairs(a: list[int], b: list[int], window: int) -> list[tuple[int, int]]:
    """Greedy in time: the first free partner of each click of A, if the order of both is kept."""
    found, free = [], 0
    for i, t in enumerate(a):
        while free < len(b) and b[free] < t - window // 2:
            free += 1
        if free < len(b) and b[free] <= t + window // 2:
            found.append((i, free))
            free += 1
    return found


@settings(max_examples=300, deadline=None)
@given(times, times, st.integers(0, 40))
def test_pairs_equal_those_of_the_slow_twin(a: np.ndarray, b: np.ndarray, window: int) -> None:
    found = find_pairs(a, b, window)
    assert list(zip(found.a.tolist(), found.b.tolist(), strict=True)) == slow_pairs(a.tolist(), b.tolist(), window)


@settings(max_examples=100, deadline=None)
@given(times, times, st.integers(0, 40), st.lists(st.integers(-50, 400), max_size=4).map(sorted))
def test_coincidences_do_not_depend_on_where_streams_are_cut(
    a: np.ndarray, b: np.ndarray, window: int, cuts: list[int]
) -> None:
    whole = find_pairs(a, b, window)
    a_channel, b_channel = CHANNEL[np.arange(a.size) % 4], CHANNEL[np.arange(b.size) % 3]
    stream = CoincidenceStream(window)
    pieces = []
    edges_a, edges_b = np.searchsorted(a, [*cuts, 1000]), np.searchsorted(b, [*(cut - 5 for cut in cuts), 1000])
    at_a = at_b = 0
    for end_a, end_b in zip(edges_a.tolist(), edges_b.tolist(), strict=True):
        pieces.append(stream.feed(a[at_a:end_a], a_channel[at_a:end_a], b[at_b:end_b], b_channel[at_b:end_b]))
        at_a, at_b = end_a, end_b
    joined = [np.concatenate(part) for part in zip(*pieces, strict=True)]
    assert joined[0].tolist() == a[whole.a].tolist()
    assert joined[1].tolist() == a_channel[whole.a].tolist()
    assert joined[2].tolist() == b_channel[whole.b].tolist()


def test_a_long_stream_keeps_little() -> None:
    rng = np.random.default_rng(1)
    stream = CoincidenceStream(1000)
    total = 0
    for batch in range(20):
        t = np.sort(rng.integers(batch * 10**9, (batch + 1) * 10**9, 1000))
        total += stream.feed(t, np.ones(1000, np.uint8), t + 3, np.ones(1000, np.uint8))[0].size
        assert max(stream.waiting) <= 2
    assert total > 19_900


def test_impossible_windows_are_refused() -> None:
    nothing = np.empty(0, np.int64)
    with pytest.raises(InputOutOfRange):
        find_pairs(nothing, nothing, -1)
    with pytest.raises(InputOutOfRange):
        CoincidenceStream(-1)


def test_a_silent_station_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postproc.timing.coincidences.MAX_WAITING", 100)
    stream = CoincidenceStream(10)
    with pytest.raises(InputOutOfRange, match="101 clicks of A and 0 of B wait"):
        stream.feed(np.arange(101), np.ones(101, np.uint8), np.empty(0, np.int64), np.empty(0, np.uint8))


@pytest.mark.parametrize("relation", [ClockRelation(12345.6), ClockRelation(-1e12, 1e-5, 10**15), ClockRelation(0.0)])
def test_clock_relation_is_undone(relation: ClockRelation) -> None:
    t = 10**15 + np.sort(np.random.default_rng(2).integers(0, 10**13, 1000))
    since = t - relation.origin_ps
    on_b = t + np.rint(relation.offset_ps + relation.relative_frequency * since).astype(np.int64)
    assert np.abs(relation.to_a(on_b) - t).max() <= 1


# ---- cross-correlation


def slow_histogram(a: np.ndarray, b: np.ndarray, start: int, width: int, bins: int) -> list[int]:
    counts = [0] * bins
    for t in a.tolist():
        for u in b.tolist():
            k = (u - t - start) // width
            if 0 <= k < bins:
                counts[k] += 1
    return counts


@example(np.array([20]), np.array([0]), -20, 1, 1)
@settings(max_examples=400, deadline=None)
@given(times, times, st.integers(-300, 300), st.integers(1, 50), st.integers(1, 20))
def test_histogram_equals_the_slow_twin(a: np.ndarray, b: np.ndarray, start: int, width: int, bins: int) -> None:
    found = cross_correlation(a, b, start_ps=start, bin_ps=width, bins=bins)
    assert found.tolist() == slow_histogram(a, b, start, width, bins)
    histogram = CrossCorrelation(start, width, bins)
    for low, high in ((-100, 20), (20, 21), (21, 250), (250, 500)):
        part_a, part_b = a[(a >= low) & (a < high)], b[(b >= low) & (b < high)]
        histogram.feed(part_a, part_b, high)
    histogram.feed(np.empty(0, np.int64), np.empty(0, np.int64), 10**6)
    assert histogram.counts.tolist() == found.tolist()
    assert histogram.waiting == (0, 0)


@pytest.mark.parametrize("bin_ps", [3, 7, 1000, 999_983, 10**9])
def test_bins_begin_exactly_where_they_should(bin_ps: int) -> None:
    edges = bin_ps * np.arange(1, 900, dtype=np.int64)
    b = np.sort(np.concatenate([edges - 1, edges]))
    counts = cross_correlation(np.zeros(1, np.int64), b, start_ps=0, bin_ps=bin_ps, bins=1000)
    assert counts[:900].tolist() == [1] + [2] * 898 + [1]


def test_a_long_stream_keeps_its_window_only() -> None:
    rng = np.random.default_rng(3)
    histogram = CrossCorrelation(-50_000, 100, 1000)
    for batch in range(10):
        t = np.sort(rng.integers(batch * 10**9, (batch + 1) * 10**9, 2000))
        histogram.feed(t, t + 4321, (batch + 1) * 10**9)
        assert max(histogram.waiting) < 10
    assert histogram.counts.argmax() == (4321 + 50_000) // 100
    assert histogram.counts.max() > 19_990


def test_impossible_histograms_are_refused() -> None:
    for start, width, bins in ((0, 0, 10), (0, 1, 0), (0, 1, 1 << 27), (1 << 51, 1, 1)):
        with pytest.raises(InputOutOfRange):
            CrossCorrelation(start, width, bins)
