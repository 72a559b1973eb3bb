"""One decoy, variable length, detectors known within intervals: Tupkary, Nahar, Sinha, Lütkenhaus, Quantum 9, 1937
(2025), arXiv:2408.17349, as the authors' published code evaluates it (commit 196394c), with the one-decoy bounds of
`one_decoy_variable` in place of their two-decoy ones.

In every round the attacker may choose the efficiencies of the detectors within eta (1 -+ a) and their dark-count
probabilities within d (1 -+ b). With r = (1 - a)/(1 + a), d_- = d (1 - b), d_+ = d (1 + b), D_-+ = 1 - (1 - d_-+)^2:

    delta_1 = max( (1 - D_-/D_+) d_+ (2 - d_-) / D_- ,  4 (1 - sqrt(1 - (1 - d_-)^2 (1 - r))) )
    delta_2 = max( 1 - D_-/D_+ ,  (1 - d_-)^2 (1 - r) )
    phi = (v_1T/s_1T + serfling + delta_1 + binomial(delta_1)) / (1 - delta_2 - binomial(delta_2))

where binomial(x) is how far the ratio of successes in s_1K trials of probability x can exceed x. Without spread this is
`one-decoy-variable` with two events more. It needs an active choice of basis: the same detectors in both bases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postproc.errors import InputOutOfRange
from postproc.finite_key import assumptions as words
from postproc.finite_key import one_decoy, one_decoy_variable
from postproc.finite_key import proof as common
from postproc.finite_key.proof import ProofParameters
from postproc.finite_key.sampling import serfling_excess
from postproc.records import BlockCounts, FiniteKeyResult

NAME = "one-decoy-variable-mismatch/1"
EVENTS = one_decoy_variable.EVENTS + 2
ASSUMPTIONS = (
    words.ONE_DECOY, words.SOURCE, words.STATES, words.RECEIVER_WITHIN_INTERVALS, words.DETECTORS, words.RANDOMNESS,
    words.AUTHENTICATION, words.VARIABLE_LENGTH,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DetectorSpread:
    """Relative half-widths, in [0, 1), of the intervals of efficiencies and of dark-count probabilities; the middle of
    the latter, per gate and detector."""

    efficiency: float
    dark_counts: float
    dark_count_probability: float

    def __post_init__(self) -> None:
        if not (0 <= self.efficiency < 1 and 0 <= self.dark_counts < 1):
            raise InputOutOfRange(f"spreads {self.efficiency}, {self.dark_counts} must lie in [0, 1)")
        if not 0 < self.dark_count_probability * (1 + self.dark_counts) < 0.5:
            raise InputOutOfRange(f"dark-count probability {self.dark_count_probability} must lie in (0, 1/2)")


def deltas(spread: DetectorSpread) -> tuple[float, float]:
    """(delta_1, delta_2) of the formula above, both 0 without spread."""
    ratio = (1 - spread.efficiency) / (1 + spread.efficiency)
    least, most = (spread.dark_count_probability * (1 + sign * spread.dark_counts) for sign in (-1, 1))
    least_any, most_any = (d * (2 - d) for d in (least, most))
    dark = 1 - least_any / most_any
    efficiency = (1 - least) ** 2 * (1 - ratio)
    return (
        max(dark * most * (2 - least) / least_any, 4 * (1 - math.sqrt(1 - efficiency))),
        max(dark, efficiency),
    )


def binomial_excess(trials: float, ratio: float, probability: float) -> float:
    """c with Pr[successes >= trials (ratio + c)] <= probability: Chernoff's bound exp(-trials KL(ratio + c || ratio)),
    solved by bisection and rounded up. At most 1 - ratio; 0 for a ratio of 0."""
    if not (trials > 0 and 0 <= ratio <= 1 and 0 < probability < 1):
        raise InputOutOfRange(f"trials {trials}, ratio {ratio}, probability {probability}")
    if ratio in (0.0, 1.0):
        return 0.0
    allowed = math.log(1 / probability) / trials
    low, high = 0.0, 1 - ratio
    for _ in range(60):
        middle = (low + high) / 2
        if _divergence(ratio + middle, ratio) >= allowed:
            high = middle
        else:
            low = middle
    return high


def evaluate(
    counts: BlockCounts, params: ProofParameters, spread: DetectorSpread, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """Length that holds for all detectors within the intervals; leakage as in `one_decoy_variable.evaluate`."""
    common.check_source(params, one_decoy.CLASSES)
    common.check_counts(counts, one_decoy.CLASSES)
    common.check_leakage(leakage_bits, verification_bits)
    event = one_decoy_variable.event_probability(params, EVENTS)
    key = one_decoy.bounds(counts.n_key, counts.m_key, params, event)
    test = one_decoy.bounds(counts.n_test, counts.m_test, params, event)
    phase_error = _phase_error(key.single_photon_lower, test, spread, event)
    return FiniteKeyResult(
        proof=NAME,
        single_photon_key=math.floor(key.single_photon_lower),
        single_photon_test=math.floor(test.single_photon_lower),
        phase_error_bound=phase_error,
        observed_length_bits=one_decoy_variable.secret_length_bits(
            key.single_photon_lower, phase_error, leakage_bits, verification_bits, params
        ),
        assumptions=ASSUMPTIONS,
        details={"event_probability": event},
    )


def _phase_error(in_key: float, test: one_decoy.DecoyBounds, spread: DetectorSpread, event: float) -> float:
    in_test = test.single_photon_lower
    if in_key <= 0 or in_test <= 0:
        return 0.5
    delta_1, delta_2 = deltas(spread)
    ratio = min(0.5, test.single_photon_errors_upper / in_test)
    above = (
        ratio + serfling_excess(in_key, in_test, math.sqrt(event)) + delta_1 + binomial_excess(in_key, delta_1, event)
    )
    below = 1 - delta_2 - binomial_excess(in_key, delta_2, event)
    return min(0.5, above / below) if below > 0 else 0.5


def _divergence(x: float, y: float) -> float:
    """KL divergence of coins with probabilities x and y, in nats; y in (0, 1)."""
    first = x * math.log(x / y) if x > 0 else 0.0
    second = (1 - x) * math.log((1 - x) / (1 - y)) if x < 1 else 0.0
    return first + second
