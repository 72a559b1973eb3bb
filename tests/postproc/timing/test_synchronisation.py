"""Period, onset, offset and tracking on modelled light, and the named failures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.symbols import split_symbols
from postproc.timing.blocks import BlockCollector
from postproc.timing.clock import ClockSegment
from postproc.timing.frequency import recover_period
from postproc.timing.offset import find_offset, find_onset
from postproc.timing.tracking import ClockTracker, is_slipped
from tests.postproc.timing.light import Light, gates, random_symbols, tags_of

DELAYS = {2: 310.0, 3: -170.0}


def session(
    seed: int, slots: int, model: Light, start_ps: float = 2.3456e9
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(tags, channels, symbols, true slot zero) of a session that starts after some dark time."""
    rng = np.random.default_rng(seed)
    symbols = random_symbols(rng, slots)
    tags, channel = tags_of(rng, symbols, model, start_ps, start_ps + slots * 1600.1)
    return tags, channel, symbols, start_ps


def without_delays(tags: np.ndarray, channel: np.ndarray, model: Light) -> np.ndarray:
    return np.sort(tags - np.array((0, *model.delays_ps), np.int64)[channel])


# ---- period


@pytest.mark.parametrize(("count", "offset"), [(5_000, 4.9e-6), (20_000, -4.9e-6), (100_000, 2e-7)])
def test_period_is_recovered_within_its_error(count: int, offset: float) -> None:
    model = Light(relative_offset=offset, eta_mu=0.02)
    tags, channel, _, start = session(1, 300 * count // 2, model)
    found = recover_period(without_delays(tags[tags > start], channel[tags > start], model)[:count], 1600.0, 10)
    assert found.period_ps == pytest.approx(1600 * (1 + offset), abs=6 * found.sigma)
    assert found.sigma / 1600 < 1e-6
    assert found.jitter_ps == pytest.approx(model.sigma_ps, rel=0.1)
    assert found.significance > 1000


def test_period_is_found_at_low_rate_and_high_background() -> None:
    model = Light(eta_mu=3e-4, dark_hz=15_000.0, relative_offset=-3e-6)
    tags, channel, _, start = session(2, 20_000_000, model)
    kept = tags > start
    found = recover_period(without_delays(tags[kept], channel[kept], model), 1600.0, 10)
    assert found.period_ps / 1600 - 1 == pytest.approx(-3e-6, abs=1e-9)


def test_phase_lies_on_the_pulses() -> None:
    model = Light(relative_offset=1e-6)
    tags, channel, _, start = session(3, 500_000, model)
    first = tags[(tags > start) & (channel == 1)]
    found = recover_period(first, 1600.0, 10)
    off = (found.reference_ps + found.phase_ps - start) % 800.0
    assert min(off, 800 - off) < 5


def test_dark_counts_have_no_period() -> None:
    rng = np.random.default_rng(4)
    tags = np.sort(rng.integers(0, 10**12, 20_000))
    with pytest.raises(SynchronisationLost, match="no pulse train near 1600"):
        recover_period(tags, 1600.0, 10)


def test_wrong_slot_rate_is_not_found() -> None:
    tags, _, _, start = session(5, 2_000_000, Light(relative_offset=40e-6))
    with pytest.raises(SynchronisationLost, match=r"-40.* ppm from the configured slot rate|no pulse train"):
        recover_period(tags[tags > start], 1600.0, 10)


def test_period_arguments_are_checked() -> None:
    tags = np.arange(0, 10**6, 1000)
    with pytest.raises(InputOutOfRange):
        recover_period(tags, -1.0, 10)
    with pytest.raises(InputOutOfRange):
        recover_period(tags, 1600.0, 0)
    with pytest.raises(SynchronisationLost, match="too few"):
        recover_period(tags[:10], 1600.0, 10)


# ---- onset


@pytest.mark.parametrize("dark_ms", [0.0, 0.5, 50.0])
def test_onset_is_the_rise_of_light(dark_ms: float) -> None:
    start = dark_ms * 1e9
    tags, _, _, _ = session(6, 200_000, Light(), start_ps=start)
    if dark_ms == 0.0:
        with pytest.raises(SynchronisationLost, match="no onset"):
            find_onset(tags)
    else:
        assert abs(find_onset(tags) - start) < 10_000 * 1600


def test_darkness_has_no_onset() -> None:
    tags = np.sort(np.random.default_rng(7).integers(0, 10**13, 3000))
    with pytest.raises(SynchronisationLost, match="no onset of light"):
        find_onset(tags)
    with pytest.raises(SynchronisationLost):
        find_onset(tags[:1])


# ---- offset


@pytest.mark.parametrize("wrong_onset_slots", [-90_000, 0, 70_000])
def test_slot_zero_is_found_whatever_the_onset_error(wrong_onset_slots: int) -> None:
    model = Light(eta_mu=0.03)
    tags, channel, symbols, start = session(8, 400_000, model)
    found = find_offset(
        tags, channel, symbols[: 1 << 17], onset_ps=int(start) + wrong_onset_slots * 1600,
        period_ps=1600 * (1 + model.relative_offset + 2e-8), gates=gates(),
    )  # fmt: skip
    assert found.slot_zero_time_ps == pytest.approx(start, abs=10)
    assert found.z_score > 10
    assert found.confirm_z > 10
    assert found.qber == pytest.approx(0.01, abs=0.01)


def test_weak_light_needs_a_longer_string() -> None:
    model = Light(eta_mu=0.0015)
    tags, channel, symbols, start = session(9, 900_000, model)
    arguments = {"onset_ps": int(start), "period_ps": 1600 * (1 + model.relative_offset), "gates": gates()}
    found = find_offset(tags, channel, symbols[: 1 << 19], **arguments)
    assert found.slot_zero_time_ps == pytest.approx(start, abs=40)
    with pytest.raises(SynchronisationLost, match=r"sync string not found|not confirmed"):
        find_offset(tags, channel, symbols[: 1 << 14], **arguments)


def test_a_foreign_string_is_not_found() -> None:
    model = Light(eta_mu=0.03)
    tags, channel, _, start = session(10, 400_000, model)
    other = random_symbols(np.random.default_rng(99), 1 << 17)
    with pytest.raises(SynchronisationLost, match="sync string not found"):
        find_offset(tags, channel, other, onset_ps=int(start), period_ps=1600.0048, gates=gates())


def test_a_string_that_ends_halfway_is_found_but_not_confirmed() -> None:
    model = Light(eta_mu=0.03)
    tags, channel, symbols, start = session(11, 400_000, model)
    claimed = symbols[: 1 << 17].copy()
    claimed[1 << 16 :] = random_symbols(np.random.default_rng(98), 1 << 16)
    with pytest.raises(SynchronisationLost, match="not confirmed on the second half"):
        find_offset(tags, channel, claimed, onset_ps=int(start), period_ps=1600.0048, gates=gates())


def test_a_clock_step_inside_the_string_is_refused() -> None:
    model = Light(eta_mu=0.03)
    tags, channel, symbols, start = session(12, 400_000, model)
    stepped = np.where(tags > start + 70_000 * 1600, tags + 4800, tags)
    with pytest.raises(SynchronisationLost, match="not confirmed"):
        find_offset(stepped, channel, symbols[: 1 << 17], onset_ps=int(start), period_ps=1600.0048, gates=gates())


def test_offset_arguments_are_checked() -> None:
    tags, channel, symbols, _ = session(13, 20_000, Light())
    for bad in ({"symbols": symbols[:100]}, {"search_slots": 0}, {"gates": ()}, {"period_ps": 0.0}):
        arguments = {"symbols": symbols[:4096], "onset_ps": 0, "period_ps": 1600.0, "gates": gates(), **bad}
        with pytest.raises(InputOutOfRange):
            find_offset(tags, channel, arguments.pop("symbols"), **arguments)


# ---- tracking


def drifting(tags: np.ndarray, start: float, wander: np.ndarray) -> np.ndarray:
    """Tags whose clock frequency follows `wander` (relative, one value per millisecond)."""
    phase = np.concatenate([[0.0], np.cumsum(wander * 1e9)])
    return tags + np.rint(np.interp(tags - start, np.arange(phase.size) * 1e9, phase)).astype(np.int64)


def track(tags: np.ndarray, channel: np.ndarray, tracker: ClockTracker, step: int = 30_000) -> list[ClockSegment]:
    segments = []
    for at in range(0, tags.size, step):
        part = slice(at, at + step)
        segments += tracker.feed(tags[part], channel[part], int(tags[part][-1]) + 1)
    return segments


def test_tracker_follows_a_wandering_clock() -> None:
    model = Light(eta_mu=0.01)
    tags, channel, _, start = session(14, 30_000_000, model)
    rng = np.random.default_rng(15)
    wander = 2e-8 + np.cumsum(rng.normal(0, 3e-9, 60))
    kept = tags > start
    moved = drifting(tags[kept], start, wander)
    tracker = ClockTracker(start, 1600 * (1 + model.relative_offset), gates(), wander=1e-7, period_sigma_ps=1e-4)
    segments = track(moved, channel[kept], tracker)
    true_zero = drifting(np.array([int(start)]), start, wander)
    last = segments[-1]
    slots = int((last.anchor_ps - start) / (1600 * (1 + model.relative_offset)) + 0.5)
    assert last.anchor_slot == pytest.approx(slots, abs=1)
    assert {type(tracker.state.fraction_ps), type(tracker.state.period_ps), type(last.residual_ps)} == {float}
    sent = start + last.anchor_slot * 1600 * (1 + model.relative_offset)
    expected = drifting(np.array([sent]), start, wander)[0] - true_zero[0] + int(start)
    assert last.anchor_ps + last.anchor_fraction_ps == pytest.approx(expected, abs=6)
    assert not any(segment.is_holdover for segment in segments)
    assert max(abs(segment.residual_ps) for segment in segments[3:]) < 25


def test_segments_cover_all_tags_once() -> None:
    tags, channel, _, start = session(16, 5_000_000, Light())
    kept = tags > start
    tracker = ClockTracker(start, 1600.0048, gates(), batch_ps=10**9)
    pieces = tracker.feed(tags[kept], channel[kept], int(tags[-1]) + 5)
    assert pieces[0].start == 0
    assert pieces[-1].stop == int(kept.sum())
    assert all(a.stop == b.start for a, b in itertools.pairwise(pieces))
    assert pieces[-1].until_ps == int(tags[-1]) + 5
    assert len(pieces) >= 7


def test_a_step_is_named() -> None:
    tags, channel, _, start = session(17, 6_000_000, Light())
    kept = tags > start
    moved = np.where(tags[kept] > start + 5e9, tags[kept] + 250, tags[kept])
    with pytest.raises(SynchronisationLost, match="clock step"):
        track(moved, channel[kept], ClockTracker(start, 1600.0048, gates()))


def test_a_short_gap_is_bridged_and_a_long_one_named() -> None:
    tags, channel, _, start = session(18, 12_000_000, Light())
    kept = (tags > start) & ((tags < start + 8e9) | (tags > start + 14e9))
    segments = track(tags[kept], channel[kept], ClockTracker(start, 1600.0048, gates()), step=5000)
    assert segments[-1].anchor_ps + segments[-1].anchor_fraction_ps == pytest.approx(
        start + segments[-1].anchor_slot * 1600 * (1 + 3e-6), abs=3
    )
    tracker = ClockTracker(start, 1600.0048, gates())
    before = (tags > start) & (tags < start + 8e9)
    track(tags[before], channel[before], tracker)
    nothing = np.empty(0, np.int64), np.empty(0, np.uint8)
    assert tracker.feed(*nothing, int(start + 9e9))[0].is_holdover
    with pytest.raises(SynchronisationLost, match="loss of signal"):
        tracker.feed(*nothing, int(start + 1e15))


def test_slips_show_in_the_errors_only() -> None:
    assert is_slipped(480, 1000)
    assert not is_slipped(300, 1000)
    assert not is_slipped(3, 5)
    assert not is_slipped(0, 0)
    with pytest.raises(InputOutOfRange):
        is_slipped(6, 5)


def test_tracker_arguments_are_checked() -> None:
    for bad in ({"batch_ps": 1}, {"wander": 0.0}, {"max_step_ps": 300.0}, {"period_sigma_ps": 0.0}):
        with pytest.raises(InputOutOfRange):
            ClockTracker(0.0, 1600.0, gates(), **bad)


# ---- the whole receiver


def test_tags_become_detections_with_the_errors_of_the_model() -> None:
    model = Light(error=0.02, visibility=0.94)
    tags, channel, symbols, _ = session(19, 3_000_000, model)
    onset = find_onset(tags)
    light_on = tags >= onset
    period = recover_period(without_delays(tags[light_on], channel[light_on], model)[:50_000], 1600.0, 10)
    offset = find_offset(tags, channel, symbols[: 1 << 17], onset_ps=onset, period_ps=period.period_ps, gates=gates())
    tracker = ClockTracker(offset.slot_zero_time_ps, period.period_ps, gates())
    collector = BlockCollector(1 << 17, 10**6, gates=gates(), common_dead_time_ps=25_000, channel_delays_ps=DELAYS)
    entropy = np.random.default_rng(20).integers(0, 256, tags.size).astype(np.uint8)
    kept = tags >= offset.slot_zero_time_ps - 400
    received, channels = tags[kept], channel[kept]
    for segment in tracker.feed(received, channels, int(tags[-1])):
        part = slice(segment.start, segment.stop)
        used = collector.feed(received[part], channels[part], segment, entropy)
        entropy = entropy[used:]
    blocks = collector.finished()
    assert [block.first_slot for block in blocks] == [131_072, 1_131_072]
    basis, bit, _ = split_symbols(symbols)
    for block in blocks:
        agrees = basis[block.slot] == block.basis
        wrong = bit[block.slot] != block.bit
        for which, ratio in ((0, 0.02), (1, 0.03)):
            used_bits = agrees & (block.basis == which)
            count = int(used_bits.sum())
            assert count > 1000
            assert wrong[used_bits].sum() == pytest.approx(ratio * count, abs=4 * np.sqrt(ratio * count) + 5)
        assert block.slot.size + block.dead_time_removed + block.outside_gates > 20_000
