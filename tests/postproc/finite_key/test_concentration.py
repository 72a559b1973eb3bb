"""Each deviation against its equation solved by other means, against exact tails, and against tabulated values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from postproc.errors import InputOutOfRange
from postproc.finite_key import concentration as c

epsilons = st.floats(-40, -1).map(lambda power: 10**power)


@given(st.integers(0, 10**9), epsilons)
def test_inverted_chernoff_solves_the_forward_bounds(count: int, eps: float) -> None:
    """Pr[X <= x] <= exp(-(E-x)^2/2E) and Pr[X >= x] <= exp(-(x-E)^2/(x+E)), solved for E numerically."""
    b = math.log(1 / eps)
    upper = optimize.brentq(lambda e: (e - count) ** 2 - 2 * e * b, count + 1e-9, 10 * count + 10 * b + 10, rtol=1e-14)
    assert c.chernoff_upper(count, eps) == pytest.approx(upper, rel=1e-9)
    lower = c.chernoff_lower(count, eps)
    if lower > 0:
        assert (count - lower) ** 2 >= (count + lower) * b  # the published form is a little more careful than needed
        assert (count - lower - b) ** 2 == pytest.approx((count + lower + b) * b, rel=1e-6, abs=1e-6 * b * b)


@pytest.mark.parametrize("eps", [0.05, 1e-3, 1e-10])
@pytest.mark.parametrize("total", [300, 20_000])
def test_no_bound_fails_more_often_than_it_says(total: int, eps: float) -> None:
    """Exact: with binomial counts a bound that grows with the count fails iff the count lies beyond one value."""
    for ratio in (0.001, 0.03, 0.3, 0.5, 0.8, 0.99):
        expectation = ratio * total
        counts = np.arange(total + 1)
        law = stats.binom.pmf(counts, total, ratio)
        above = c.kato_shape(0.05 * total, total, eps, is_upper=True)
        below = c.kato_shape(0.05 * total, total, eps, is_upper=False)
        uppers = (
            lambda x: x + c.hoeffding_deviation(total, eps),
            lambda x: x + c.azuma_deviation(total, eps),
            lambda x: c.chernoff_upper(x, eps),
            lambda x, shape=above: c.kato_upper(x, total, shape, eps),
        )
        lowers = (
            lambda x: x - c.hoeffding_deviation(total, eps),
            lambda x: c.chernoff_lower(x, eps),
            lambda x, shape=below: c.kato_lower(x, total, shape, eps),
        )
        near = np.unique(np.clip(np.linspace(0, total, 400).astype(int), 0, total))
        for bound in uppers:
            failing = [k for k in near if bound(float(k)) < expectation]
            assert law[: max(failing) + 1].sum() <= eps if failing else True
        for bound in lowers:
            failing = [k for k in near if bound(float(k)) > expectation]
            assert law[min(failing) :].sum() <= eps if failing else True


@pytest.mark.parametrize(
    ("count", "chernoff", "kato"), [(1e4, (702, 690), (690, 660)), (100, (95, 80), (85, 54)), (5e5, (4822, 4810), None)]
)
def test_tabulated_deviations(count: float, chernoff: tuple[int, int], kato: tuple[int, int] | None) -> None:
    """eps = 1e-10 and 10^6 trials, from the reference collection; from n/4 on Chernoff is worse than Hoeffding."""
    eps, total = 1e-10, 10**6
    assert round(c.hoeffding_deviation(total, eps)) == 3393
    assert round(c.azuma_deviation(total, eps)) == 6786
    assert round(c.chernoff_upper(count, eps) - count) == chernoff[0]
    assert round(count - c.chernoff_lower(count, eps)) == chernoff[1]
    if kato is not None:
        shapes = [c.kato_shape(count, total, eps, is_upper=side) for side in (True, False)]
        assert round(c.kato_upper(count, total, shapes[0], eps) - count) == kato[0]
        assert round(count - c.kato_lower(count, total, shapes[1], eps)) == kato[1]


@given(st.floats(0.001, 0.999), st.integers(100, 10**8), epsilons, st.booleans())
def test_the_chosen_shape_is_the_tightest(ratio: float, total: int, eps: float, is_upper: bool) -> None:
    bound = c.kato_upper if is_upper else c.kato_lower
    sign = 1 if is_upper else -1
    count = ratio * total
    best = sign * bound(count, total, c.kato_shape(count, total, eps, is_upper=is_upper), eps)  # lower bounds end at 0
    for shape in np.linspace(-0.7, 0.7, 41) * math.sqrt(total):
        assert best <= sign * bound(count, total, shape, eps) + 1e-6 * total


def test_kato_holds_for_an_attacker_who_reacts() -> None:
    """20 000 runs of a process whose next probability depends on all outcomes so far; eps = 0.05."""
    rng = np.random.default_rng(4)
    runs, rounds, eps = 20_000, 400, 0.05
    count, expected = np.zeros(runs), np.zeros(runs)
    for i in range(rounds):
        p = np.where(count > expected, 0.02, 0.3) if i % 2 else np.full(runs, 0.1)
        expected += p
        count += rng.random(runs) < p
    upper_shape = c.kato_shape(40, rounds, eps, is_upper=True)
    lower_shape = c.kato_shape(40, rounds, eps, is_upper=False)
    pairs = list(zip(count, expected, strict=True))
    assert sum(e > c.kato_upper(k, rounds, upper_shape, eps) for k, e in pairs) <= eps * runs
    assert sum(e < c.kato_lower(k, rounds, lower_shape, eps) for k, e in pairs) <= eps * runs
    assert np.mean([e > k for k, e in pairs]) > 0.2  # the statement is not empty


@given(st.integers(0, 10**6), st.integers(0, 10**6), epsilons)
def test_intervals_enclose_the_count_and_stay_within_the_total(part: int, rest: int, eps: float) -> None:
    total = part + rest
    for interval in (c.hoeffding_interval, c.chernoff_interval):
        low, high = interval(part, total, eps)
        assert 0 <= low <= part <= high <= total


def test_arguments_are_checked() -> None:
    for call in (
        lambda: c.hoeffding_deviation(-1, 0.1), lambda: c.azuma_deviation(1, 0.0), lambda: c.chernoff_upper(1, 1.0),
        lambda: c.chernoff_lower(math.inf, 0.1), lambda: c.kato_upper(5, 4, 0.0, 0.1),
        lambda: c.kato_lower(1, 100, 9.0, 0.1),
    ):  # fmt: skip
        with pytest.raises(InputOutOfRange):
            call()
