"""The summary of a tag file: counts against slow twins, pulse trains found where they are and only there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.errors import ConnectionLost, DamagedFile
from drivers.files.plotting import plot
from drivers.files.pulse_period import BIN_PS, BINS, MAX_LAG, WINDOW_PS, count_differences, find_period
from drivers.files.reader import read_tag_file
from drivers.files.summary import INTER_ARRIVAL_EDGES_PS, summarise
from drivers.tags import Anomaly, AnomalyKind, TagBatch, TagFlag
from tests.drivers.recordings import RECORDINGS, needs_recordings


def batch(times: NDArray[np.int64] | list[int], channels: int | list[int] = 1, *anomalies: Anomaly) -> TagBatch:
    time_ps = np.asarray(times, dtype=np.int64)
    channel = np.broadcast_to(np.asarray(channels, np.uint8), time_ps.shape).copy()
    return TagBatch(time_ps, channel, np.zeros(time_ps.size, np.uint8), 0, anomalies)


def naive_differences(times: list[int]) -> NDArray[np.int64]:
    counts = np.zeros(BINS, np.int64)
    for i in range(len(times)):
        for j in range(i - 1, max(-1, i - 1 - MAX_LAG), -1):
            if times[i] - times[j] >= WINDOW_PS:
                break
            if times[i] > times[j]:
                counts[(times[i] - times[j]) // BIN_PS] += 1
    return counts


def pulsed(rng: np.random.Generator, period_ps: float, jitter_ps: float, dark: float) -> NDArray[np.int64]:
    """20 000 clicks, about one per 40 pulses, jittered, a share `dark` of them anywhere."""
    slot = np.cumsum(rng.geometric(1 / 40, 20_000))
    phase = np.where(
        rng.random(slot.size) < dark, rng.random(slot.size) * period_ps, rng.normal(0, jitter_ps, slot.size)
    )
    return np.sort(np.rint(slot * period_ps + phase)).astype(np.int64)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1000, 3_000_000), min_size=1, max_size=60), st.integers(1, 20))
def test_differences_equal_their_slow_twin_however_batched(steps: list[int], size: int) -> None:
    times = np.cumsum(steps)
    counts = np.zeros(BINS, np.int64)
    tail = np.empty(0, np.int64)
    for start in range(0, times.size, size):
        joined = np.concatenate((tail, times[start : start + size]))
        count_differences(joined, tail.size, counts)
        tail = joined[-MAX_LAG:]
    assert np.array_equal(counts, naive_differences(times.tolist()))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 3)), min_size=1, max_size=80),
    st.integers(1, 30),
)
def test_counts_and_inter_arrival_equal_their_slow_twins(events: list[tuple[int, int]], size: int) -> None:
    times = np.cumsum([step for step, _ in events]).tolist()
    channels = [channel for _, channel in events]
    result = summarise(batch(times[i : i + size], channels[i : i + size]) for i in range(0, len(times), size))
    assert result.clicks == len(times)
    assert result.duration_s == pytest.approx((times[-1] - times[0]) * 1e-12)
    assert {c.channel: c.clicks for c in result.channels} == {c: channels.count(c) for c in set(channels)}
    for summary in result.channels:
        own = [t for t, c in zip(times, channels, strict=True) if c == summary.channel]
        expected = np.zeros(len(INTER_ARRIVAL_EDGES_PS) - 1, int)
        for a, b in pairwise(own):
            expected[max(k for k in range(expected.size) if INTER_ARRIVAL_EDGES_PS[k] <= b - a)] += 1
        assert list(summary.inter_arrival_counts) == expected.tolist()
    assert sum(result.inter_arrival_counts) == len(times) - 1


@pytest.mark.parametrize(
    ("period_ps", "jitter_ps", "dark"), [(12_500.0, 300.0, 0.0), (1_600.0, 60.0, 0.3), (100_000.0, 500.0, 0.5)]
)
def test_pulse_train_is_found(period_ps: float, jitter_ps: float, dark: float) -> None:
    found = summarise([batch(pulsed(np.random.default_rng(6), period_ps, jitter_ps, dark))]).pulse_period
    assert found is not None
    assert found.period_ps == pytest.approx(period_ps, abs=max(6 * found.uncertainty_ps, 1e-7 * period_ps))
    assert found.uncertainty_ps < 1e-4 * period_ps
    # differences of two jittered, partly dark clicks: R = (1 - dark)^2 exp(-(2 pi jitter / period)^2)
    expected = (1 - dark) ** 2 * np.exp(-((2 * np.pi * jitter_ps / period_ps) ** 2))
    assert found.vector_strength == pytest.approx(expected, rel=0.1)
    assert found.false_alarm_probability < 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_no_train_in_random_clicks_with_dead_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(400_000, 20_000) + 25_000).astype(np.int64)
    assert summarise([batch(times)]).pulse_period is None


def test_no_period_from_too_few_pairs_or_equal_ones() -> None:
    assert find_period(np.zeros(BINS, np.int64)) is None
    one_bin = np.zeros(BINS, np.int64)
    one_bin[100] = 1000
    assert find_period(one_bin) is None


def test_markers_are_counted_apart_and_anomalies_added_up() -> None:
    marked = batch([1, 2, 3], [1, 0, 1], Anomaly(AnomalyKind.DUMMY, 1, 3))
    marked.flags[1] = TagFlag.MARKER
    result = summarise([marked, batch([4], 1, Anomaly(AnomalyKind.DUMMY, 4, 2))])
    assert (result.clicks, result.markers) == (3, 1)
    assert [(a.kind, a.time_ps, a.count) for a in result.anomalies] == [(AnomalyKind.DUMMY, 1, 5)]


def test_damage_is_reported_with_what_came_before_and_other_errors_pass() -> None:
    def stream(error: Exception) -> Iterator[TagBatch]:
        yield batch([1, 2])
        raise error

    result = summarise(stream(DamagedFile("record 7 is impossible")))
    assert result.clicks == 2
    assert "record 7" in result.damage
    with pytest.raises(ConnectionLost):
        summarise(stream(ConnectionLost("gone")))


def test_nothing_at_all() -> None:
    result = summarise([])
    assert (result.clicks, result.duration_s, result.channels, result.damage) == (0, 0.0, (), "")


def test_plot_with_and_without_a_train(tmp_path: Path) -> None:
    for name, times in (("train", pulsed(np.random.default_rng(7), 12_500.0, 100.0, 0.0)), ("none", [1, 5, 9])):
        path = tmp_path / f"{name}.png"
        plot(summarise([batch(times)]), path)
        assert path.read_bytes().startswith(b"\x89PNG")


@needs_recordings
def test_recording_qutag_shows_its_80_mhz_train() -> None:
    result = summarise(read_tag_file(RECORDINGS / "qutag_80MHz_hbt.qutag"))
    assert result.duration_s == pytest.approx(5.0439, abs=1e-4)
    assert result.pulse_period is not None
    assert result.pulse_period.period_ps == pytest.approx(12_500, rel=5e-4)
    assert result.pulse_period.vector_strength > 0.95
    by_channel = {c.channel: c.pulse_period for c in result.channels}
    assert set(by_channel) == {2, 3, 6}
    trigger = by_channel[6]
    assert trigger is not None  # the laser's trigger, divided by eight
    assert trigger.period_ps / result.pulse_period.period_ps == pytest.approx(8, rel=1e-5)


@needs_recordings
@pytest.mark.parametrize("name", ["s15_tdc2_qkd_calibration.a1.ts", "s15_legacy_two_channel.raw"])
def test_recordings_without_a_train(name: str) -> None:
    assert summarise(read_tag_file(RECORDINGS / name)).pulse_period is None
