"""The announced slots must not tell bits: dead time is counted in slots, whatever the dead time and the bits."""

from __future__ import annotations

import numpy as np
import pytest

from postproc.records import Basis, Detections
from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.clock import ClockSegment
from tests.postproc.timing import light

SLOTS = 2_000_000
LIGHT = light.Light(sigma_ps=17.0, eta_mu=0.05, relative_offset=0.0)


def block(dead_ps: int, seed: int) -> Detections:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    symbols = light.random_symbols(rng, SLOTS)
    tags, channel = light.tags_of(rng, symbols, LIGHT, 10_000.0, SLOTS * 1600.0 + 20_000)
    collector = BlockCollector(
        0, SLOTS - 1000, gates=light.gates(400.0, LIGHT), common_dead_time_ps=dead_ps,
        channel_delays_ps={2: 310.0, 3: -170.0},
    )  # fmt: skip
    entropy = rng.integers(0, 256, entropy_bytes_needed(tags.size)).astype(np.uint8)
    collector.feed(tags, channel, ClockSegment(0, 10_000, 0.0, 1600.0, until_ps=int(tags[-1]) + 10**7), entropy)
    return collector.finished()[0]


@pytest.mark.parametrize("dead_ps", [24_000, 24_500, 25_000])
def test_the_shortest_gap_between_announced_slots_tells_nothing_about_the_bits(dead_ps: int) -> None:
    """With a dead time from click to click, the shortest gap was reached only by early before late."""
    found = block(dead_ps, seed=11)
    gap = np.diff(found.slot)
    both_key = (found.basis[1:] == Basis.Z) & (found.basis[:-1] == Basis.Z)
    shortest = both_key & (gap == gap.min())
    before, after = found.bit[:-1][shortest], found.bit[1:][shortest]
    limit = 5 * 0.5 / np.sqrt(before.size)
    assert before.size > 150
    assert abs(before.mean() - 0.5) < limit
    assert abs(after.mean() - 0.5) < limit


def test_early_and_late_bits_are_live_equally_often() -> None:
    found = block(24_000, seed=12)
    key = found.bit[found.basis == Basis.Z]
    assert abs(key.mean() - 0.5) < 5 * 0.5 / np.sqrt(key.size)


def test_the_gap_below_which_nothing_is_announced_is_the_same_for_all_outcomes() -> None:
    found = block(24_500, seed=13)
    gap = np.diff(found.slot)
    outcome = 2 * found.basis + found.bit
    shortest = {
        (before, after): int(gap[(outcome[:-1] == before) & (outcome[1:] == after)].min())
        for before in range(4)
        for after in range(4)
    }
    assert set(shortest.values()) == {17}
