"""Sampling without replacement: the exact tail against fractions, bounds against the exact tail."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.finite_key.sampling import (
    fung_ma_chau_excess,
    hypergeometric_tail,
    most_errors_unseen,
    serfling_excess,
)


def slow_tail(population: int, errors: int, sampled: int, seen: int) -> Fraction:
    good = population - errors
    ways = sum(math.comb(errors, x) * math.comb(good, sampled - x) for x in range(min(seen, errors, sampled) + 1))
    return Fraction(ways, math.comb(population, sampled))


@given(st.integers(1, 400), st.data())
def test_the_tail_is_the_sum_of_fractions(population: int, data: st.DataObject) -> None:
    errors, sampled = data.draw(st.integers(0, population)), data.draw(st.integers(0, population))
    seen = data.draw(st.integers(0, sampled))
    exact = float(slow_tail(population, errors, sampled, seen))
    assert hypergeometric_tail(population, errors, sampled, seen) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_the_worst_population_is_the_worst(unseen: int, sampled: int, data: st.DataObject) -> None:
    """Over all populations, "at most `seen` sampled, more than e unseen" is rarer than allowed; not so e - 1."""
    seen = data.draw(st.integers(0, sampled))
    probability = data.draw(st.sampled_from([0.2999, 0.0501, 1.01e-3, 1e-6]))
    least = most_errors_unseen(unseen, sampled, seen, probability)

    def worst(e: int) -> Fraction:
        return max(
            (slow_tail(unseen + sampled, errors, sampled, min(seen, errors - e - 1))
             for errors in range(e + 1, unseen + sampled + 1)), default=Fraction(0),
        )  # fmt: skip

    assert least <= unseen
    assert worst(least) <= probability or least == unseen
    if least > 0:
        assert worst(least - 1) > probability


@pytest.mark.parametrize(("unseen", "sampled"), [(10**4, 10**3), (10**6, 10**5)])
@pytest.mark.parametrize("seen", [0, 1, 5, 10, 20, 50, 100])
def test_who_keeps_the_promised_probability(unseen: int, sampled: int, seen: int) -> None:
    """At 1e-10: Serfling and the exact bound always; Fung-Ma-Chau not below some 50 errors, by up to 8 orders."""
    eps = 1e-10

    def failure(excess: float) -> float:
        errors = math.ceil(unseen * (seen / sampled + excess))
        return hypergeometric_tail(unseen + sampled, seen + errors, sampled, seen)

    assert failure(serfling_excess(unseen, sampled, math.sqrt(eps))) <= eps
    least = most_errors_unseen(unseen, sampled, seen, eps)
    assert hypergeometric_tail(unseen + sampled, seen + least + 1, sampled, seen) <= eps
    assert hypergeometric_tail(unseen + sampled, seen + least, sampled, seen) > eps
    legacy = failure(fung_ma_chau_excess(unseen, sampled, seen / sampled, eps))
    known = {0: 4.7e8, 1: 2.3e6, 5: 3.5e3, 10: 115.0, 20: 2.8}
    if seen in known:
        assert legacy / eps == pytest.approx(known[seen], rel=0.5)
    else:
        assert legacy < eps


def test_tabulated_bounds() -> None:
    """10^6 key bits, 10^5 test bits, one percent, 1e-10: gamma .01298, Serfling .02125, exact .01225."""
    n, k, m, eps = 10**6, 10**5, 1000, 1e-10
    assert m / k + fung_ma_chau_excess(n, k, m / k, eps) == pytest.approx(0.01298, abs=1e-5)
    assert m / k + serfling_excess(n, k, math.sqrt(eps)) == pytest.approx(0.02125, abs=1e-5)
    assert most_errors_unseen(n, k, m, eps) / n == pytest.approx(0.01225, abs=1e-5)


@given(st.floats(10, 1e8), st.floats(10, 1e8), st.floats(1.0, 10), st.sampled_from([1e-5, 1e-10]))
def test_more_bits_never_loosen_serfling(unseen: float, sampled: float, factor: float, eps: float) -> None:
    """What makes lower bounds of single-photon numbers safe to insert."""
    bound = serfling_excess(unseen, sampled, eps)
    assert serfling_excess(unseen * factor, sampled, eps) <= bound * (1 + 1e-12)
    assert serfling_excess(unseen, sampled * factor, eps) <= bound * (1 + 1e-12)


def test_the_tail_adds_up_for_large_blocks() -> None:
    population, errors, sampled = 10**8, 10**6, 10**7
    middle = errors // 10
    below = hypergeometric_tail(population, errors, sampled, middle - 1)
    above = hypergeometric_tail(population, errors, population - sampled, errors - middle)
    assert below + above == pytest.approx(1, abs=1e-6)


def test_arguments_are_checked() -> None:
    for call in (
        lambda: serfling_excess(0, 10, 0.1), lambda: fung_ma_chau_excess(10, 10, 0.1, 0.0),
        lambda: hypergeometric_tail(10, 11, 5, 1), lambda: most_errors_unseen(10, 5, 6, 0.1),
        lambda: most_errors_unseen(10, 5, 1, 0.0),
    ):  # fmt: skip
        with pytest.raises(InputOutOfRange):
            call()
