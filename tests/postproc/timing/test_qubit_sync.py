"""Frequency and offset from the qubits alone: weak links, any offset, wandering clocks; and what must be refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.timing.qubit_sync import QubitSync, string_slots_needed, synchronise
from postproc.timing.string_search import find_string
from tests.postproc.timing.light import gates
from tests.postproc.timing.sparse_light import SparseLight, sparse_tags, symbols_of

DELAYS = {2: 310.0, 3: -170.0}
SLOTS_PER_MS = 625_000


def link(loss_db: float, **parameters: object) -> SparseLight:
    """0.5 photons per slot (0.79 of it on average over the intensities), detectors of 60 %; benchmarks/ has 20 %."""
    return SparseLight(0.5 * 0.79 * 0.6 * 10 ** (-loss_db / 10), **parameters)  # type: ignore[arg-type]


def length_for(model: SparseLight) -> int:
    return string_slots_needed(model.key_clicks_per_slot, noise_share=model.noise_share)


def attempt(
    model: SparseLight,
    seed: int,
    *,
    before_ms: float,
    string: np.ndarray | None = None,
    length: int | None = None,
    after_ms: float = 20.0,
    moved: tuple[float, float] = (0.0, 0.0),
) -> tuple[QubitSync, float]:
    """One session whose light is on before_ms before slot 0; moved: (share of the string, ps) of a clock step."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    length = length or length_for(model)
    start = float(rng.uniform(-1e12, 1e12))
    slots = round((before_ms + after_ms) * SLOTS_PER_MS) + length
    tags, channel = sparse_tags(rng, model, seed, -round(before_ms * SLOTS_PER_MS), slots, start)
    tags = np.where(tags > start + moved[0] * length * 1600, tags + round(moved[1]), tags)
    found = synchronise(
        tags, channel, symbols_of(np.arange(length), seed) if string is None else string,
        nominal_period_ps=1600.0, search_ppm=10.5, gates=gates(), channel_delays_ps=DELAYS,
    )  # fmt: skip
    return found, start


@pytest.mark.parametrize(
    ("loss_db", "ppm", "before_ms"),
    [(20, 10.0, 3.0), (20, -10.0, 47.1), (30, 10.0, 250.0), (30, -10, 0.3), (40, 6, 30.0)],
)
def test_string_is_found_at_any_loss_offset_and_frequency(loss_db: float, ppm: float, before_ms: float) -> None:
    found, start = attempt(link(loss_db, relative_offset=ppm * 1e-6), seed=round(loss_db + ppm), before_ms=before_ms)
    assert found.slot_zero_time_ps == pytest.approx(start, abs=15)
    assert found.period_ps / 1600 - 1 == pytest.approx(ppm * 1e-6, abs=1e-9)
    assert found.search_z > 7.5 > found.runner_up_z
    assert found.confirm_z > 6
    assert found.qber < 0.12


@pytest.mark.parametrize("wander", [1e-9, 3e-9])
def test_the_string_is_found_although_the_clock_wanders_by_more_than_a_slot(wander: float) -> None:
    """A poor quartz, warming up: random walk and ramp of the frequency."""
    rng = np.random.default_rng(5)
    frequency = 2e-7 * np.arange(200) / 1000 + np.cumsum(rng.normal(0, wander * np.sqrt(1e-3), 200))
    phase = np.concatenate([[0.0], np.cumsum(frequency * 1e9)])
    knots = 1e9 * (np.arange(201) - 100)
    model = link(20, relative_offset=3e-6, clock=lambda sent: np.interp(sent, knots, phase - phase[100]))
    assert np.ptp(phase) > 1600
    found, start = attempt(model, 6, before_ms=99.0)
    assert found.slot_zero_time_ps == pytest.approx(start, abs=20)


def test_string_grows_with_the_loss() -> None:
    lengths = [length_for(link(loss_db)) for loss_db in (10, 20, 30, 40)]
    assert [round(longer / shorter) for shorter, longer in itertools.pairwise(lengths)] == [10, 10, 10]
    for bad in ({"key_clicks_per_slot": 0.0}, {"noise_share": 1.0}, {"key_basis_probability": 0.0}, {"qber": 0.3}):
        with pytest.raises(InputOutOfRange):
            string_slots_needed(**{"key_clicks_per_slot": 1e-3, **bad})


@pytest.mark.parametrize("seed", range(4))
def test_a_string_far_too_short_for_the_loss_is_refused_and_never_misplaced(seed: int) -> None:
    model = link(30)
    with pytest.raises(SynchronisationLost, match=r"not found|not confirmed"):
        attempt(model, seed, before_ms=50.0, length=length_for(model) // 8)


def test_a_foreign_string_is_not_found() -> None:
    model = link(20)
    foreign = symbols_of(np.arange(length_for(model)), 999)
    with pytest.raises(SynchronisationLost, match="not found in"):
        attempt(model, 11, before_ms=20.0, string=foreign)


def test_a_string_whose_end_is_another_is_not_confirmed() -> None:
    model = link(20)
    string = symbols_of(np.arange(length_for(model)), 12)
    string[string.size * 2 // 3 :] = symbols_of(np.arange(string.size - string.size * 2 // 3), 13)
    with pytest.raises(SynchronisationLost, match="not confirmed on the last third"):
        attempt(model, 12, before_ms=20.0, string=string)


def test_a_clock_step_of_whole_pulses_inside_the_string_is_not_confirmed() -> None:
    with pytest.raises(SynchronisationLost, match="not confirmed"):
        attempt(link(20), 14, before_ms=20.0, moved=(0.68, 2400.0))


def test_darkness_and_short_records_are_named() -> None:
    dark = SparseLight(1e-12, dark_hz=1e6)
    with pytest.raises(SynchronisationLost, match="no pulse train"):
        attempt(dark, 15, before_ms=50.0, length=100_000)
    model = link(20)
    with pytest.raises(SynchronisationLost, match=r"the record spans .* lags, allowed"):
        attempt(model, 16, before_ms=0.0, after_ms=1.0, string=symbols_of(np.arange(10**7), 16))


# ---- the search itself


def slow_scores(slot: np.ndarray, outcome: np.ndarray, symbol: np.ndarray, first: int, lags: int) -> list[int]:
    scores = []
    for lag in range(first, first + lags):
        place = slot - lag
        inside = (place >= 0) & (place < symbol.size)
        scores.append(int((symbol[place[inside]] == outcome[inside]).sum()))
    return scores


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([8192, 10_001, 20_000]), st.integers(1, 10_000))
def test_best_lag_is_that_of_the_slow_twin(seed: int, length: int, lags: int) -> None:
    rng = np.random.default_rng(seed)
    symbol = rng.integers(0, 3, length).astype(np.uint8)
    first = int(rng.integers(-(10**6), 10**6))
    true = first + int(rng.integers(0, lags))
    slot = true + np.sort(rng.choice(length + 2000, 800, replace=False)) - 1000
    inside = (slot >= true) & (slot < true + length)
    outcome = rng.integers(0, 2, slot.size).astype(np.uint8)
    outcome[inside] = symbol[slot[inside] - true] & 1
    found = find_string(slot, outcome, symbol, first, lags)
    scores = slow_scores(slot, outcome, symbol, first, lags)
    assert found.lag == true == first + int(np.argmax(scores))
    share = np.mean(symbol < 2) / 2
    n = int(inside.sum())
    assert found.z_score == pytest.approx((scores[true - first] - n * share) / np.sqrt(n * share * (1 - share)))
    assert found.clicks == n
    assert found.runner_up_z < 6 < found.z_score


@pytest.mark.parametrize("lags", [1, 63, 64, 8191, 8192, 8193])
def test_every_lag_of_the_range_and_none_beyond_is_tried(lags: int) -> None:
    rng = np.random.default_rng(8)
    symbol = rng.integers(0, 2, 9000).astype(np.uint8)
    for true in (0, lags - 1, lags):
        found = find_string(true + np.arange(9000), symbol, symbol, 0, lags)
        assert (found.lag == true and found.z_score > 20) == (true < lags)


def test_counters_hold_many_clicks() -> None:
    symbol = np.random.default_rng(9).integers(0, 2, 60_000).astype(np.uint8)
    found = find_string(np.arange(60_000) + 7, symbol, symbol, -50, 200)
    assert found.lag == 7
    longer = np.zeros(70_000, np.uint8)
    with pytest.raises(InputOutOfRange, match="70000 clicks under a string"):
        find_string(np.arange(70_000), longer, longer, 0, 10)


def test_search_arguments_are_checked() -> None:
    slot, value, symbol = np.arange(5), np.zeros(5, np.uint8), np.zeros(8192, np.uint8)
    for bad in ((slot[:4], value, symbol, 0, 1), (slot, value + 2, symbol, 0, 1), (slot, value, symbol[:10], 0, 1),
                (slot, value, symbol, 0, 0), (slot, value, symbol + 2, 0, 1)):  # fmt: skip
        with pytest.raises(InputOutOfRange):
            find_string(*bad)  # type: ignore[arg-type]
