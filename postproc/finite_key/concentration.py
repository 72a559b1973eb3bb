"""Deviations between an observed count and its expectation: one function per inequality, each with the probability
`eps` that its one statement fails. Every function bounds one side of one quantity; using both sides costs 2 eps.

* Hoeffding (1963): independent indicators. Photon-number conditioning makes the intensity assignment such a sum.
* Chernoff, inverted (Yin et al., Sci. Rep. 10, 14312 (2020), eq. 10-11): independent indicators; far tighter than
  Hoeffding for counts that are few in the total, worse from about n/4 on.
* Azuma (1967) and Kato (arXiv:2002.04357, theorem 1): any adapted process of indicators, so also when an attacker
  reacts to earlier outcomes. Kato's `shape` must be chosen from a prediction made before the block.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from postproc.errors import InputOutOfRange

CountInterval = Callable[[int, int, float], tuple[float, float]]
"""(count of one class, total of all classes, eps of each side) -> (lower, upper) bound of the expected count."""


def hoeffding_deviation(total: float, eps: float) -> float:
    """|count - expectation| of `total` independent indicators: sqrt(total/2 ln(1/eps)), one side."""
    _check(total, eps)
    return math.sqrt(total / 2 * math.log(1 / eps))


def azuma_deviation(total: float, eps: float) -> float:
    """|count - sum of conditional expectations|, martingale differences of at most 1: sqrt(2 total ln(1/eps))."""
    _check(total, eps)
    return math.sqrt(2 * total * math.log(1 / eps))


def chernoff_upper(count: float, eps: float) -> float:
    """Upper bound of the expectation of a sum of independent indicators that was observed to be `count`."""
    _check(count, eps)
    b = math.log(1 / eps)
    return count + b + math.sqrt(2 * b * count + b * b)


def chernoff_lower(count: float, eps: float) -> float:
    """Lower bound of the expectation of a sum of independent indicators that was observed to be `count`, >= 0."""
    _check(count, eps)
    b = math.log(1 / eps)
    return max(0.0, count - b / 2 - math.sqrt(2 * b * count + b * b / 4))


def kato_upper(count: float, total: float, shape: float, eps: float) -> float:
    """Upper bound of the sum of conditional expectations of `total` indicators that summed up to `count`.

    shape: the inequality's parameter a, |a| < 3/4 sqrt(total), fixed before the block (`kato_shape`).
    """
    return count + _kato_deviation(count, total, shape, eps, 1)


def kato_lower(count: float, total: float, shape: float, eps: float) -> float:
    """Lower bound of the sum of conditional expectations; `shape` with its own prediction, as in `kato_upper`."""
    return max(0.0, count - _kato_deviation(count, total, shape, eps, -1))


def kato_shape(predicted: float, total: float, eps: float, *, is_upper: bool) -> float:
    """The shape that makes Kato's bound tightest if the count comes out as predicted; any shape gives a valid bound.

    Golden-section search over the admissible range; the deviation is convex in the shape.
    """
    side = 1 if is_upper else -1
    ratio = (math.sqrt(5) - 1) / 2
    low, high = -0.74 * math.sqrt(total), 0.74 * math.sqrt(total)
    while high - low > 1e-9 * math.sqrt(total):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _kato_deviation(predicted, total, left, eps, side) < _kato_deviation(predicted, total, right, eps, side):
            high = right
        else:
            low = left
    return (low + high) / 2


def hoeffding_interval(count: int, total: int, eps: float) -> tuple[float, float]:
    """Of one class of `total` events: count -+ deviation, clipped to what a count can be."""
    deviation = hoeffding_deviation(total, eps)
    return max(0.0, count - deviation), min(float(total), count + deviation)


def chernoff_interval(count: int, total: int, eps: float) -> tuple[float, float]:
    """Of one class of `total` events, clipped to what a count can be."""
    return chernoff_lower(count, eps), min(float(total), chernoff_upper(count, eps))


def _check(count: float, eps: float) -> None:
    if not 0 < eps < 1 or not 0 <= count < math.inf:
        raise InputOutOfRange(f"failure probability {eps} must lie in (0, 1), count {count} must not be negative")


def _kato_deviation(count: float, total: float, shape: float, eps: float, side: int) -> float:
    """side: 1 above the count, -1 below it."""
    _check_kato(count, total, shape, eps)
    root = math.sqrt(total)
    b = math.sqrt(shape**2 + (1 + side * 4 * shape / (3 * root)) ** 2 * math.log(1 / eps) / 2)
    return (b + shape * (2 * count / total - 1)) * root


def _check_kato(count: float, total: float, shape: float, eps: float) -> None:
    _check(total, eps)
    if not 0 <= count <= total or total <= 0 or abs(shape) >= 0.75 * math.sqrt(total):
        raise InputOutOfRange(f"count {count} must lie in [0, total {total}], shape {shape} in (-3/4, 3/4) sqrt(total)")
