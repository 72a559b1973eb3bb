"""Slot assignment, double clicks and the common dead time, against the slow twin."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.records import Basis, Gate
from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.clock import ClockSegment
from postproc.timing.dead_time import dead_slots
from postproc.timing.gating import GatingState, assign_slots, detections, gate_table
from tests.postproc.timing import light, naive

DELAYS = {1: 0.0, 2: 310.0, 3: -170.0}
CLOCK = ClockSegment(0, 1_000_000, 0.4, 1600.0048)


def crowded_tags(seed: int, count: int, mean_gap_ps: float) -> tuple[np.ndarray, np.ndarray]:
    """Tags that fall into the gates often, close together, so that every rule is used."""
    rng = np.random.default_rng(seed)
    base = 1_010_000 + np.cumsum(rng.exponential(mean_gap_ps, count)).astype(np.int64)
    snapped = base // 800 * 800 + rng.normal(0, 120, count).astype(np.int64)
    channel = rng.integers(1, 5, count).astype(np.uint8)
    tags = snapped + np.array([0, 0, 310, -170, 0])[channel]
    order = np.argsort(tags, kind="stable")
    return tags[order], channel[order]


def feed_in_pieces(
    tags: np.ndarray,
    channel: np.ndarray,
    cuts: list[int],
    dead_ps: int,
    entropy: np.ndarray,
    slots: int,
    first: int = 0,
) -> list:
    collector = BlockCollector(first, slots, gates=light.gates(), common_dead_time_ps=dead_ps, channel_delays_ps=DELAYS)
    blocks, used = [], 0
    edges = [0, *sorted(cuts), tags.size]
    for start, stop in itertools.pairwise(edges):
        until = int(tags[stop]) if stop < tags.size else int(tags[-1]) + 10_000_000
        segment = ClockSegment(
            CLOCK.anchor_slot, CLOCK.anchor_ps, CLOCK.anchor_fraction_ps, CLOCK.period_ps, until_ps=until
        )
        used += collector.feed(tags[start:stop], channel[start:stop], segment, entropy[used:])
        blocks += collector.finished()
    return blocks


def as_rows(blocks: list) -> list[tuple[int, int, int]]:
    return [row for b in blocks for row in zip(b.slot.tolist(), b.basis.tolist(), b.bit.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("dead_ps", "gap_ps"),
    [(0, 300.0), (0, 5000.0), (500, 700.0), (3000, 4000.0), (25_000, 20_000.0), (25_000, 60_000.0)],
)
def test_detections_equal_those_of_the_slow_twin(dead_ps: int, gap_ps: float) -> None:
    tags, channel = crowded_tags(1, 4000, gap_ps)
    entropy = np.random.default_rng(2).integers(0, 256, entropy_bytes_needed(tags.size)).astype(np.uint8)
    expected = naive.detections(
        tags.tolist(), channel.tolist(), CLOCK, light.gates(), dead_ps, entropy.tolist(), {2: 310, 3: -170}
    )
    slots = (expected[-1][0] // 1000 + 1) * 1000
    found = as_rows(feed_in_pieces(tags, channel, [], dead_ps, entropy, slots))
    assert found == [row for row in expected if 0 <= row[0] < slots]
    assert len(found) > 50


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=8), st.integers(0, 1000))
def test_where_the_stream_is_cut_makes_no_difference(cuts: list[int], seed: int) -> None:
    tags, channel = crowded_tags(seed, 3000, 20_000.0)
    entropy = np.random.default_rng(seed).integers(0, 256, 4000).astype(np.uint8)
    whole = feed_in_pieces(tags, channel, [], 25_000, entropy, 5000)
    pieces = feed_in_pieces(tags, channel, cuts, 25_000, entropy, 5000)
    assert as_rows(pieces) == as_rows(whole)
    assert [(b.first_slot, b.double_clicks, b.dead_time_removed, b.outside_gates) for b in pieces] == [
        (b.first_slot, b.double_clicks, b.dead_time_removed, b.outside_gates) for b in whole
    ]


def test_blocks_follow_each_other_and_every_slot_appears_at_most_once() -> None:
    tags, channel = crowded_tags(5, 20_000, 9000.0)
    entropy = np.random.default_rng(2).integers(0, 256, 20_000).astype(np.uint8)
    blocks = feed_in_pieces(tags, channel, [777, 9000], 0, entropy, 3000, first=2000)
    assert [b.first_slot for b in blocks] == list(range(2000, 2000 + 3000 * len(blocks), 3000))
    for block in blocks:
        assert (np.diff(block.slot) > 0).all()
        assert ((block.slot >= block.first_slot) & (block.slot < block.first_slot + block.slots)).all()
    assert sum(block.slot.size for block in blocks) > 1000


def run(clicks: list[tuple[int, int, int]], entropy: list[int], dead_ps: int = 25_000) -> list[tuple[int, int, int]]:
    """clicks: (slot, half, channel), exactly on the pulses, delays removed."""
    gates = light.gates(light=light.Light(delays_ps=(0.0, 0.0, 0.0)))
    tags = np.array([1600 * slot + 800 * half for slot, half, _ in clicks], np.int64)
    channel = np.array([c for *_, c in clicks], np.uint8)
    chunk, _ = detections(
        assign_slots(tags, channel, ClockSegment(0, 0, 0.0, 1600.0), gate_table(gates)), GatingState(),
        complete_until_ps=1 << 60, complete_below_slot=1 << 40, dead_slots=dead_slots(dead_ps, 1600.0),
        entropy=np.array(entropy, np.uint8),
    )  # fmt: skip
    return list(zip(chunk.slot.tolist(), chunk.basis.tolist(), chunk.bit.tolist(), strict=True))


@pytest.mark.parametrize("byte", range(4))
def test_double_click_becomes_the_random_bit(byte: int) -> None:
    assert run([(5, 1, 2), (5, 1, 3)], [byte]) == [(5, Basis.X, byte >> 1)]


@pytest.mark.parametrize(
    ("byte", "expected"), [(0, (Basis.Z, 0)), (1, (Basis.X, 0)), (2, (Basis.Z, 0)), (3, (Basis.X, 1))]
)
def test_cross_basis_click_takes_a_random_basis_and_its_outcome(byte: int, expected: tuple[int, int]) -> None:
    assert run([(5, 0, 1), (5, 1, 2), (5, 1, 3)], [byte]) == [(5, *expected)]


def test_a_click_in_the_dead_time_is_discarded_and_extends_it() -> None:
    # 25 ns are 16 slots: slot 14 is dead after slot 0, slot 29 after slot 14 although slot 0 is long past
    assert run([(0, 0, 1), (14, 0, 1), (29, 0, 1), (46, 0, 1)], []) == [(0, 0, 0), (46, 0, 0)]


@pytest.mark.parametrize(("dead_ps", "slots"), [(0, 0), (2, 1), (1600, 1), (24_000, 15), (24_500, 16), (25_600, 16)])
def test_the_dead_time_is_whole_slots_rounded_up(dead_ps: int, slots: int) -> None:
    assert {dead_slots(dead_ps, period_ps) for period_ps in (1600.0, 1599.95, 1600.05)} == {slots}


def test_an_ungated_click_of_the_same_slot_changes_nothing() -> None:
    assert run([(5, 0, 2), (5, 1, 1)], []) == run([(5, 1, 1), (5, 0, 2)], []) == [(5, 0, 1)]


def test_gates_longer_than_a_slot_are_refused() -> None:
    table = gate_table((Gate(1, 0, 400, Basis.Z, 0), Gate(1, 1400, 400, Basis.Z, 1)))
    with pytest.raises(InputOutOfRange, match="span 1800 ps"):
        assign_slots(np.zeros(1, np.int64), np.ones(1, np.uint8), CLOCK, table)


def test_an_ungated_click_begins_a_dead_time_too() -> None:
    assert run([(0, 0, 2), (3, 0, 1), (40, 0, 1)], []) == [(40, 0, 0)]


def test_too_little_entropy_is_an_error_and_changes_nothing() -> None:
    with pytest.raises(InputOutOfRange, match="1 bytes of entropy needed"):
        run([(5, 1, 2), (5, 1, 3)], [])


@pytest.mark.parametrize(
    "gate",
    [Gate(0, 0, 100, Basis.Z, 0), Gate(32, 0, 100, Basis.Z, 0), Gate(1, 0, 0, Basis.Z, 0), Gate(1, 0, 100, Basis.Z, 2)],
)
def test_impossible_gates_are_refused(gate: Gate) -> None:
    with pytest.raises(InputOutOfRange):
        gate_table((gate,))


def test_assignment_is_fast() -> None:
    """A guard against an accidental interpreter loop; benchmarks/ has the figures."""
    tags, channel = crowded_tags(3, 1_000_000, 50_000.0)
    table = gate_table(light.gates(), DELAYS)
    entropy = np.zeros(500_000, np.uint8)

    def once() -> float:
        begin = time.perf_counter()
        detections(
            assign_slots(tags, channel, CLOCK, table), GatingState(), complete_until_ps=1 << 60,
            complete_below_slot=1 << 40, dead_slots=16, entropy=entropy,
        )  # fmt: skip
        return time.perf_counter() - begin

    assert min(once() for _ in range(3)) < 0.5  # 2 Mtag/s, a 20th of what is measured
