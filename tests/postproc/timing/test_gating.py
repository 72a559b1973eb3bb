"""Slot assignment, double clicks and the common dead time, against the slow twin."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.records import Basis, Gate
from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.clock import ClockSegment
from postproc.timing.dead_time import dead_slots
from postproc.timing.gate_table import PHASE_BINS, gate_table
from postproc.timing.gating import GatingState, assign_slots, detections
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
        assign_slots(tags, channel, ClockSegment(0, 0, 0.0, 1600.0), gate_table(gates, 1600.0)), GatingState(),
        complete_below=1 << 40, dead_slots=dead_slots(dead_ps, 1600.0), entropy=np.array(entropy, np.uint8),
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
    with pytest.raises(InputOutOfRange, match="span 1800 ps"):
        gate_table((Gate(1, 0, 400, Basis.Z, 0), Gate(1, 1400, 400, Basis.Z, 1)), 1600.0)


def test_overlapping_gates_of_a_channel_are_refused() -> None:
    with pytest.raises(InputOutOfRange, match="overlap"):
        gate_table((Gate(1, 0, 400, Basis.Z, 0), Gate(1, 399, 400, Basis.Z, 1)), 1600.0)


def test_a_table_serves_the_periods_of_drifting_clocks_and_no_others() -> None:
    table = gate_table(light.gates(), 1600.0)
    assert table.fits(1600.0 * (1 + 1e-5))
    with pytest.raises(InputOutOfRange, match="made for slots of 1600"):
        assign_slots(np.zeros(1, np.int64), np.ones(1, np.uint8), ClockSegment(0, 0, 0.0, 1601.0), table)


def test_an_ungated_click_begins_a_dead_time_too() -> None:
    assert run([(0, 0, 2), (3, 0, 1), (40, 0, 1)], []) == [(40, 0, 0)]


def test_too_little_entropy_is_an_error_and_changes_nothing() -> None:
    with pytest.raises(InputOutOfRange, match="1 bytes of entropy needed"):
        run([(5, 1, 2), (5, 1, 3)], [])


def slots_and_outcomes(clicks: np.ndarray) -> list[tuple[int, int]]:
    return [(click >> 8, click & 255) for click in clicks.tolist()]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1600.0, 1600.0048, 1599.984, 977.3125]),
    st.floats(0, 1, exclude_max=True),
    st.integers(-(10**15), 10**15),
    st.integers(0, 2**32),
)
def test_clicks_at_the_very_edges_go_where_exact_arithmetic_puts_them(
    period_ps: float, fraction_ps: float, anchor_ps: int, seed: int
) -> None:
    """Tags within 1 ps of all edges of gates and slots, up to 0.1 s from the anchor, in rational arithmetic."""
    rng = np.random.default_rng(seed)
    gates = tuple(replace(gate, width_ps=float(rng.choice([200.0, 317.25, 400.0]))) for gate in light.gates())
    gates = tuple(replace(gate, start_ps=gate.start_ps * period_ps / 1600) for gate in gates[: rng.integers(1, 5)])
    clock = ClockSegment(int(rng.integers(0, 10**12)), anchor_ps, fraction_ps, period_ps)
    slots = np.sort(rng.integers(-(10**5), 6 * 10**7, 200))
    edges = [edge for gate in gates for edge in (gate.start_ps, gate.start_ps + gate.width_ps)]
    phase = rng.choice([*edges, *(edge - period_ps / 2 for edge in edges), 0.0], slots.size)
    near = [int(np.floor(float(s) * period_ps + p + fraction_ps)) for s, p in zip(slots, phase, strict=True)]
    tags = np.sort(np.array(near, np.int64) + rng.integers(0, 2, slots.size)) + anchor_ps
    channel = rng.integers(0, 5, tags.size).astype(np.uint8)
    found = slots_and_outcomes(assign_slots(tags, channel, clock, gate_table(gates, period_ps, DELAYS)))
    integer_delays = {number: int(delay) for number, delay in DELAYS.items()}
    expected = []
    for tag, number in zip(tags.tolist(), channel.tolist(), strict=True):
        slot, outcome = naive.outcome_of(tag, number, clock, gates, integer_delays)
        expected.append((slot, 0 if outcome is None else 1 << (2 * outcome[0] + outcome[1])))
    assert sorted(found) == sorted(expected)
    assert [slot for slot, _ in found] == sorted(slot for slot, _ in expected)


def test_tags_far_out_of_order_are_ordered() -> None:
    """Delays of 2 us: insertion gives up, and a full sort takes over."""
    rng = np.random.default_rng(7)
    tags = np.sort(rng.integers(0, 50_000_000, 20_000))
    channel = rng.integers(1, 4, tags.size).astype(np.uint8)
    gates = tuple(replace(gate, start_ps=gate.start_ps + 2e6 * (gate.channel == 2)) for gate in light.gates())
    clicks = assign_slots(tags, channel, CLOCK, gate_table(gates, 1600.0, {2: 2e6}))
    assert (np.diff(clicks >> 8) >= 0).all()
    assert clicks.size == tags.size


def test_every_phase_bin_is_right_or_left_to_exact_arithmetic() -> None:
    table = gate_table(light.gates(), 1600.0, DELAYS)
    bins = table.outcome.reshape(256, PHASE_BINS)
    assert {int(code) for code in bins[1]} == {0, 1, 2, 128}
    assert 0.01 < (bins[1:4] == 128).mean() < 0.03
    assert (bins[200, 1:-1] == 0).all()


@pytest.mark.parametrize(
    "gate",
    [Gate(0, 0, 100, Basis.Z, 0), Gate(32, 0, 100, Basis.Z, 0), Gate(1, 0, 0, Basis.Z, 0), Gate(1, 0, 100, Basis.Z, 2)],
)
def test_impossible_gates_are_refused(gate: Gate) -> None:
    with pytest.raises(InputOutOfRange):
        gate_table((gate,), 1600.0)


def test_assignment_is_fast() -> None:
    """A guard against an accidental interpreter loop; benchmarks/ has the figures."""
    tags, channel = crowded_tags(3, 1_000_000, 50_000.0)
    table = gate_table(light.gates(), CLOCK.period_ps, DELAYS)
    entropy = np.zeros(500_000, np.uint8)

    def once() -> float:
        begin = time.perf_counter()
        detections(
            assign_slots(tags, channel, CLOCK, table), GatingState(),
            complete_below=1 << 40, dead_slots=16, entropy=entropy,
        )  # fmt: skip
        return time.perf_counter() - begin

    assert min(once() for _ in range(3)) < 0.5  # 2 Mtag/s, a 20th of what is measured
