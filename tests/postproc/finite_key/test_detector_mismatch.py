"""Detectors known within intervals: the published deltas, an exact binomial tail, and what a spread costs."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from postproc.errors import InputOutOfRange
from postproc.finite_key import detector_mismatch, one_decoy_variable
from postproc.finite_key.detector_mismatch import DetectorSpread, binomial_excess, deltas
from postproc.finite_key.proof import Source
from postproc.records import BlockCounts

SOURCE = Source((0.45, 0.15), (0.6, 0.4), 1e-9, 1e-15)
COUNTS = BlockCounts((8_000_000, 1_800_000), (2_000_000, 450_000), (40_000, 9_000), (10_000, 2_250))
spreads = st.builds(DetectorSpread, st.floats(0, 0.9), st.floats(0, 0.9), st.floats(1e-8, 1e-2))


@given(spreads)
def test_deltas_equal_the_formulas_in_decimals(spread: DetectorSpread) -> None:
    with localcontext() as context:
        context.prec = 60
        a, b, d = (Decimal(x) for x in (spread.efficiency, spread.dark_counts, spread.dark_count_probability))
        low, high = d * (1 - b), d * (1 + b)
        some_low, some_high = 1 - (1 - low) ** 2, 1 - (1 - high) ** 2
        eta = (1 - a) / (1 + a)
        first = max((1 - some_low / some_high) * high * (2 - low) / some_low,
                    4 * (1 - (1 - (1 - low) ** 2 * (1 - eta)).sqrt()))  # fmt: skip
        second = max(1 - some_low / some_high, (1 - low) ** 2 * (1 - eta))
    found = deltas(spread)
    assert found[0] == pytest.approx(float(first), rel=1e-6, abs=1e-7)
    assert found[1] == pytest.approx(float(second), rel=1e-6, abs=1e-7)


def test_deltas_of_small_spreads() -> None:
    """Four and two times the spread of the efficiencies; nothing without spread."""
    assert deltas(DetectorSpread(0.0, 0.0, 1e-6)) == (0.0, 0.0)
    first, second = deltas(DetectorSpread(1e-4, 0.0, 1e-6))
    assert first == pytest.approx(4e-4, rel=1e-3)
    assert second == pytest.approx(2e-4, rel=1e-3)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(1e-30, 0.5))
def test_the_excess_keeps_its_promise(trials: int, ratio: float, probability: float) -> None:
    excess = binomial_excess(trials, ratio, probability)
    assert 0 <= excess <= 1
    if excess < 1 - ratio and ratio > 0:
        reached = math.ceil(trials * (ratio + excess) * (1 + 1e-12))
        assert stats.binom.sf(reached, trials, ratio) <= probability
        assert excess <= math.sqrt(math.log(1 / probability) / (2 * trials)) + 1e-9  # never worse than Hoeffding


def length(spread: DetectorSpread) -> int:
    return detector_mismatch.evaluate(COUNTS, SOURCE, spread, 600_000, 128).observed_length_bits


def test_without_spread_it_costs_two_events() -> None:
    equal = length(DetectorSpread(0.0, 0.0, 1e-6))
    plain = one_decoy_variable.evaluate(COUNTS, SOURCE, 600_000, 128).observed_length_bits
    assert 0.99 * plain < equal < plain


@given(st.floats(0, 0.05), st.floats(0, 0.05), st.floats(0, 0.05), st.floats(0, 0.05))
def test_more_spread_never_gives_more_key(efficiency: float, more: float, dark: float, darker: float) -> None:
    narrow, wide = DetectorSpread(efficiency, dark, 1e-6), DetectorSpread(efficiency + more, dark + darker, 1e-6)
    assert length(wide) <= length(narrow)


def test_what_a_spread_costs() -> None:
    """1 % in efficiency: a quarter to a half of the key; 10 %: all of it."""
    equal = length(DetectorSpread(0.0, 0.0, 1e-6))
    assert 0.5 < length(DetectorSpread(0.01, 0.01, 1e-6)) / equal < 0.75
    assert length(DetectorSpread(0.1, 0.0, 1e-6)) == 0


def test_what_makes_no_sense_is_refused() -> None:
    for values in ((-0.1, 0.0, 1e-6), (0.0, 1.0, 1e-6), (0.0, 0.0, 0.0), (0.0, 0.5, 0.4)):
        with pytest.raises(InputOutOfRange):
            DetectorSpread(*values)
    for values in ((0, 0.1, 0.1), (10, 1.1, 0.1), (10, 0.1, 0.0)):
        with pytest.raises(InputOutOfRange):
            binomial_excess(*values)
    with pytest.raises(InputOutOfRange):
        detector_mismatch.evaluate(COUNTS, SOURCE, DetectorSpread(0.0, 0.0, 1e-6), -1, 128)
