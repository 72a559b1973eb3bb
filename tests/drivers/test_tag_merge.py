"""The k-way merge against sorting, and the watermark against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drivers.tags import Anomaly, AnomalyKind, TagFlag
from drivers.time_taggers.tag_merge import TagMerger, merge_sorted

Tags = list[tuple[int, int]]


def collect(merger: TagMerger) -> tuple[Tags, list[Anomaly]]:
    """Everything that may leave now."""
    tags: Tags = []
    anomalies: list[Anomaly] = []
    while (batch := merger.take()) is not None:
        tags += list(zip(batch.time_ps.tolist(), batch.channel.tolist(), strict=True))
        anomalies += batch.anomalies
    return tags, anomalies


def times(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=20).map(sorted), min_size=1, max_size=5))
def test_merge_equals_sorting(pools: list[list[int]]) -> None:
    lengths = np.array([len(pool) for pool in pools])
    ends = np.cumsum(lengths)
    joined = np.array([t for pool in pools for t in pool], dtype=np.int64)
    names = np.arange(1, len(pools) + 1, dtype=np.uint8)
    out = np.empty(joined.size, np.int64), np.empty(joined.size, np.uint8), np.empty(joined.size, np.uint8)
    assert merge_sorted(joined, ends - lengths, ends, names, 0, *out) == 0
    expected = sorted((t, int(name)) for pool, name in zip(pools, names, strict=True) for t in pool)
    assert list(zip(out[0].tolist(), out[1].tolist(), strict=True)) == expected
    assert not out[2].any()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_nothing_is_lost_doubled_or_out_of_order_whatever_the_arrival(data: st.DataObject) -> None:
    channels = (1, 2, 4)
    streams = {c: sorted(data.draw(st.lists(st.integers(0, 10_000), max_size=30))) for c in channels}
    merger = TagMerger(channels, patience_ps=1 << 40)
    left = dict(streams)
    seen: Tags = []
    while any(left.values()):
        channel = data.draw(st.sampled_from([c for c in channels if left[c]]))
        n = data.draw(st.integers(1, len(left[channel])))
        merger.add(channel, np.array(left[channel][:n], dtype=np.int64))
        left[channel] = left[channel][n:]
        tags, anomalies = collect(merger)
        assert anomalies == []
        assert all(t < merger.complete_until_ps for t, _ in tags)
        seen += tags
    for channel in channels:
        merger.end(channel)
    seen += collect(merger)[0]
    assert merger.has_ended
    assert seen == sorted((t, c) for c, stream in streams.items() for t in stream)


def test_tags_wait_for_the_slowest_channel() -> None:
    merger = TagMerger((1, 2), patience_ps=1000)
    merger.add(1, times(10, 20, 30))
    assert merger.take() is None
    merger.add(2, times(25))
    batch = merger.take()
    assert batch is not None
    assert batch.time_ps.tolist() == [10, 20]
    assert batch.complete_until_ps == 25


def add_singly(merger: TagMerger, channel: int, *values: int) -> None:
    """Each time stamp in a message of its own."""
    for value in values:
        merger.add(channel, times(value))


def test_a_silent_channel_holds_back_only_as_long_as_the_patience_and_is_reported_once() -> None:
    merger = TagMerger((1, 2), patience_ps=1000)
    add_singly(merger, 1, 100, 200, 300, 1500)
    tags, anomalies = collect(merger)
    assert (tags, merger.complete_until_ps) == ([(100, 1), (200, 1), (300, 1)], 500)
    assert [(a.kind, "channel 2" in a.note) for a in anomalies] == [(AnomalyKind.MISSED, True)]
    add_singly(merger, 1, 3000)
    assert collect(merger) == ([(1500, 1)], [])
    merger.add(2, times(2900))  # it speaks again
    assert collect(merger) == ([], [])
    add_singly(merger, 1, 9000, 9001, 9002, 9003)
    tags, anomalies = collect(merger)
    assert tags == [(2900, 2), (3000, 1)]
    assert [a.kind for a in anomalies] == [AnomalyKind.MISSED]


def test_a_message_longer_than_the_patience_is_no_silence_of_the_others() -> None:
    merger = TagMerger((1, 2), patience_ps=1000)
    for k in range(5):
        merger.add(1, times(*range(k * 100_000, (k + 1) * 100_000, 20_000)))
        first = collect(merger)
        merger.add(2, times(*range(k * 100_000 + 1, (k + 1) * 100_000, 20_000)))
        second = collect(merger)
        assert first[1] == second[1] == []
    assert merger.complete_until_ps == 480_000


def test_a_late_tag_is_delivered_and_flagged() -> None:
    merger = TagMerger((1, 2), patience_ps=1000)
    add_singly(merger, 1, 100, 200, 300, 5000)
    collect(merger)
    merger.add(2, times(50, 4500))
    batch = merger.take()
    assert batch is not None
    assert (batch.time_ps.tolist(), batch.flags.tolist()) == ([50], [TagFlag.BACKWARD])
    assert [(a.kind, a.time_ps, a.count) for a in batch.anomalies] == [(AnomalyKind.BACKWARD, 50, 1)]


def test_a_backward_step_within_a_channel_is_flagged() -> None:
    merger = TagMerger((3,), patience_ps=1000)
    merger.add(3, times(100, 90, 200, 300))
    batch = merger.take()
    assert batch is not None
    assert batch.time_ps.tolist() == [100, 90, 200]
    assert batch.flags.tolist() == [0, TagFlag.BACKWARD, 0]


@pytest.mark.parametrize("size", [0, 1])
def test_ended_streams_hold_nothing_back(size: int) -> None:
    merger = TagMerger((1, 2), patience_ps=1000)
    merger.add(1, times(*range(size)))
    merger.end(1)
    merger.add(2, times(7, 8))
    merger.end(2)
    assert [t for t, _ in collect(merger)[0]] == [*range(size), 7, 8]
