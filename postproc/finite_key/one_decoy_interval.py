"""Wiesemann 2026 with one decoy for a source that is known only within intervals.

In every slot the two mean photon numbers lie in their intervals; they may differ from slot to slot and be known to the
attacker, but do not depend on what is chosen in this or other slots. q = p_2/p_1 lies in its interval.

Proof, in place of the point formulas. Given n photons, a slot is of class 2 rather than 1 with odds
    r_n = q exp(mu_1 - mu_2) (mu_2/mu_1)^n,      P(1|n) = 1/(1 + r_n),      P(2|n) = r_n/(1 + r_n),
which fall with n because mu_2 < mu_1 everywhere in the box. For constants A, B, C, D, F, summed over detected slots:
    s_1 >= A (n_2 - B n_1 - C s_0) if in every slot r_n <= B for n >= 2, A (r_1 - B) <= 1 + r_1, r_0 - B <= C (1 + r_0)
    v_1 <= D (m_1 - F m_2)         if in every slot F r_0 <= 1, D (1 - F r_1) >= 1 + r_1
    s_0 <= 2 (m_k / min P(k|0) + delta)
where n_k, m_k are expectations, bounded by Hoeffding, which needs independence, not equal probabilities. B = max r_2
and F = 1/max r_0; the others make their conditions equalities at max r_1 or max r_0: (r - B)/(1 + r) grows with r,
while (1 - F r)/(1 + r) falls. The maxima of r_n: exp(mu)/mu^n is convex for mu > 0, so greatest at an end of the
interval of mu_1; exp(-mu) mu^n has its only maximum at mu = n, so it is greatest at the point of the interval of mu_2
nearest to n. For intervals of no width these are the formulas of `one_decoy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postproc.errors import InputOutOfRange
from postproc.finite_key import assumptions as words
from postproc.finite_key import one_decoy, wiesemann2026
from postproc.finite_key import proof as common
from postproc.finite_key.concentration import hoeffding_deviation
from postproc.finite_key.one_decoy import DecoyBounds
from postproc.finite_key.proof import ProofParameters, Source, clip
from postproc.records import BlockCounts, FiniteKeyResult

NAME = "wiesemann2026-interval/1"
ASSUMPTIONS = (
    words.ONE_DECOY, words.SOURCE_WITHIN_INTERVALS, words.STATES, words.RECEIVER, words.DETECTORS, words.RANDOMNESS,
    words.AUTHENTICATION, words.FIXED_LENGTH,
)  # fmt: skip

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SourceBox:
    """What is certain about a source: ranges (least, greatest) of both mean photon numbers and of the signal's
    probability; the decoy has the rest."""

    signal_mean: Range
    decoy_mean: Range
    signal_probability: Range
    eps_sec: float
    eps_cor: float

    def __post_init__(self) -> None:
        ranges = (self.signal_mean, self.decoy_mean, self.signal_probability)
        if any(not low <= high for low, high in ranges):
            raise InputOutOfRange(f"ranges must be given as (least, greatest): {ranges}")
        if not 0 < self.decoy_mean[0] <= self.decoy_mean[1] < self.signal_mean[0] <= self.signal_mean[1] <= 2:
            raise InputOutOfRange(f"decoy {self.decoy_mean} and signal {self.signal_mean}: 0 < decoy < signal <= 2")
        if not 0 < self.signal_probability[0] <= self.signal_probability[1] < 1:
            raise InputOutOfRange(f"signal probability {self.signal_probability} must lie in (0, 1)")


def around(params: ProofParameters, mean_uncertainty: float, probability_uncertainty: float = 0.0) -> SourceBox:
    """The box of these parameters with relative uncertainties of the means and of the signal's probability."""
    common.check_source(params, one_decoy.CLASSES)
    if not (0 <= mean_uncertainty < 1 and 0 <= probability_uncertainty < 1):
        raise InputOutOfRange(f"relative uncertainties {mean_uncertainty}, {probability_uncertainty}: 0 <= u < 1")
    (mu_1, mu_2), (p_1, _) = params.mean_photon_numbers, params.intensity_probabilities
    return SourceBox(
        signal_mean=(mu_1 * (1 - mean_uncertainty), mu_1 * (1 + mean_uncertainty)),
        decoy_mean=(mu_2 * (1 - mean_uncertainty), mu_2 * (1 + mean_uncertainty)),
        signal_probability=(p_1 * (1 - probability_uncertainty), p_1 * (1 + probability_uncertainty)),
        eps_sec=params.eps_sec,
        eps_cor=params.eps_cor,
    )


def bounds(n: tuple[int, ...], m: tuple[int, ...], box: SourceBox, eps: float) -> DecoyBounds:
    """As `one_decoy.bounds`, for every source in the box at once; the same clips."""
    total, errors = sum(n), sum(m)
    spread_n, spread_m = hoeffding_deviation(total, eps), hoeffding_deviation(errors, eps)
    r_0, r_1, r_2 = (_greatest_odds(box, photons) for photons in (0, 1, 2))
    least_r_0 = _decoy_odds(box, greatest=False) * math.exp(box.signal_mean[0] - box.decoy_mean[1])
    weights = (1 + r_0, (1 + least_r_0) / least_r_0)  # 1 / min P(k|0)
    vacuum = min(2 * (w * clip(k + spread_m, errors) + spread_n) for w, k in zip(weights, m, strict=True))
    vacuum = clip(vacuum, total)
    single = (1 + r_1) / (r_1 - r_2) * (
        clip(n[1] - spread_n, total) - r_2 * clip(n[0] + spread_n, total) - max(0.0, (r_0 - r_2) / (1 + r_0)) * vacuum
    ) if r_1 > r_2 else 0.0  # fmt: skip
    wrong = (1 + r_1) / (1 - r_1 / r_0) * (
        clip(m[0] + spread_m, errors) - clip(m[1] - spread_m, errors) / r_0
    ) if r_1 < r_0 else math.inf  # fmt: skip
    return DecoyBounds(vacuum, clip(single, total), clip(wrong, errors))


def evaluate(counts: BlockCounts, box: SourceBox, leakage_bits: int, verification_bits: int) -> FiniteKeyResult:
    """Length that holds for every source in the box. Raises InputOutOfRange for counts that contradict themselves."""
    common.check_epsilons(Source((), (), box.eps_sec, box.eps_cor))
    common.check_counts(counts, one_decoy.CLASSES)
    common.check_leakage(leakage_bits, verification_bits)
    eps = box.eps_sec / wiesemann2026.EPS_TERMS
    key = bounds(counts.n_key, counts.m_key, box, eps)
    test = bounds(counts.n_test, counts.m_test, box, eps)
    phase_error = wiesemann2026.phase_error_bound(key.single_photon_lower, test, box.eps_sec)
    source = Source((), (), box.eps_sec, box.eps_cor)
    length = wiesemann2026.secret_length_bits(
        key.single_photon_lower, phase_error, leakage_bits, verification_bits, source
    )
    return FiniteKeyResult(
        proof=NAME,
        single_photon_key=math.floor(key.single_photon_lower),
        single_photon_test=math.floor(test.single_photon_lower),
        phase_error_bound=phase_error,
        observed_length_bits=length,
        assumptions=ASSUMPTIONS,
        details={"vacuum_key_upper": key.vacuum_upper},
    )


def _greatest_odds(box: SourceBox, photons: int) -> float:
    signal = max(math.exp(mu) / mu**photons for mu in box.signal_mean)
    decoy = min(max(float(photons), box.decoy_mean[0]), box.decoy_mean[1])
    return _decoy_odds(box, greatest=True) * signal * math.exp(-decoy) * decoy**photons


def _decoy_odds(box: SourceBox, *, greatest: bool) -> float:
    """q = p_2/p_1 at its end."""
    p_1 = box.signal_probability[0 if greatest else 1]
    return (1 - p_1) / p_1
