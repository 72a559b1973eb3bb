"""How far the error ratio of n unmeasured bits can lie above that of k sampled ones, drawn without replacement.

* `serfling_excess` (Serfling 1974; used by Tomamichel-Leverrier 2017 and Wiesemann 2026): never above its eps, loose.
* `hypergeometric_tail`, `most_errors_unseen`: the exact tail of the worst population.
* `fung_ma_chau_excess` (Fung, Ma, Chau, PRA 81, 012318 (2010); used by Lim 2014 and Rusca 2018): legacy. Its failure
  probability exceeds eps by orders of magnitude below some 50 observed errors, see docs/security-analysis.md.
"""

from __future__ import annotations

import math

from postproc.errors import InputOutOfRange


def serfling_excess(unseen: float, sampled: float, eps: float) -> float:
    """g with Pr[error ratio of the unseen > error ratio of the sample + g] <= eps^2.

    sqrt((n + k)(k + 1) / (n k^2) ln(1/eps)), n = unseen, k = sampled: real numbers > 0; falls in both.
    """
    _check(unseen, sampled, eps)
    n, k = unseen, sampled
    return math.sqrt((n + k) / (n * k) * (k + 1) / k * math.log(1 / eps))


def fung_ma_chau_excess(unseen: float, sampled: float, ratio: float, eps: float) -> float:
    """gamma(eps, ratio, k, n) of Lim 2014, legacy. A ratio of 0 has no meaning in it: 1/(n + k) is put instead."""
    _check(unseen, sampled, eps)
    total = unseen + sampled
    b = max(ratio, 1 / total)
    if b >= 0.5:
        return 0.5
    spread = total * (1 - b) * b / (unseen * sampled * math.log(2))
    return math.sqrt(spread * max(0.0, math.log2(total / (unseen * sampled * (1 - b) * b) / eps**2)))


def hypergeometric_tail(population: int, errors: int, sampled: int, seen: int) -> float:
    """Pr[at most `seen` errors among `sampled` bits] drawn from `population` bits of which `errors` are wrong.

    Summed from the largest term down in ratios of neighbouring terms; relative error below 1e-7 up to 10^8 bits.
    """
    if not (0 <= errors <= population and 0 <= sampled <= population):
        raise InputOutOfRange(f"{errors} errors and {sampled} sampled bits in a population of {population}")
    lowest, highest = max(0, sampled + errors - population), min(sampled, errors)
    if seen < lowest:
        return 0.0
    if seen >= highest:
        return 1.0
    mode = (sampled + 1) * (errors + 1) // (population + 2)
    if seen > mode:  # the complement is the smaller tail: count the unsampled errors instead
        return max(0.0, 1.0 - hypergeometric_tail(population, errors, population - sampled, errors - seen - 1))
    term = total = 1.0
    for x in range(seen, lowest, -1):
        term *= x * (population - errors - sampled + x) / ((errors - x + 1) * (sampled - x + 1))
        total += term
        if term < 1e-17 * total:
            break
    return min(1.0, math.exp(_log_probability(population, errors, sampled, seen)) * total)


def most_errors_unseen(unseen: int, sampled: int, seen: int, probability: float) -> int:
    """The least e such that, whatever the population, Pr[seen or fewer errors sampled and more than e unseen] is at
    most `probability`. At most `unseen`.

    The worst population has exactly seen + e + 1 errors: one error more in it makes "more than e unseen" likelier while
    that condition binds (K - X grows with K by 0 or 1), and "at most seen" rarer once it does.
    """
    if not 0 <= seen <= sampled or unseen < 0 or not 0 < probability < 1:
        raise InputOutOfRange(f"{seen} errors among {sampled} sampled bits, {unseen} unseen, probability {probability}")
    low, high = -1, unseen  # the statement fails at low and holds at high
    while high - low > 1:
        middle = (low + high) // 2
        if hypergeometric_tail(unseen + sampled, seen + middle + 1, sampled, seen) <= probability:
            high = middle
        else:
            low = middle
    return high


def _log_probability(population: int, errors: int, sampled: int, seen: int) -> float:
    return (
        _log_binomial(errors, seen)
        + _log_binomial(population - errors, sampled - seen)
        - _log_binomial(population, sampled)
    )


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _check(unseen: float, sampled: float, eps: float) -> None:
    if not (unseen > 0 and sampled > 0 and 0 < eps < 1):
        raise InputOutOfRange(f"sample {sampled} and rest {unseen} must be positive, eps {eps} in (0, 1)")
