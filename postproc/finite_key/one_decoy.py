"""Photon-number bounds of one basis from two intensities (signal, decoy): Rusca et al., APL 112, 171104 (2018),
appendix A, with the clips named here. The formulas are written out in `wiesemann2026`.

eps is the failure probability of each single deviation; how many there are is counted by the proof that calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postproc.finite_key.concentration import hoeffding_deviation
from postproc.finite_key.proof import ProofParameters, clip

CLASSES = 2


@dataclass(frozen=True, slots=True)
class DecoyBounds:
    """Bounds of one basis, as real numbers. The first two count detections, the third errors."""

    vacuum_upper: float
    single_photon_lower: float
    single_photon_errors_upper: float


def bounds(
    n: tuple[int, ...],
    m: tuple[int, ...],
    params: ProofParameters,
    eps: float,
    vacuum_classes: tuple[int, ...] = (0, 1),
) -> DecoyBounds:
    """From detections n and errors m per class. Clips: counts in [0, N] or [0, M], vacuum and single photons in [0, N],
    their errors in [0, M]: facts about the true numbers. vacuum_classes: whose errors may bound the vacuum detections.
    """
    (mu_1, mu_2), (p_1, p_2) = params.mean_photon_numbers, params.intensity_probabilities
    total, errors = sum(n), sum(m)
    spread_n, spread_m = hoeffding_deviation(total, eps), hoeffding_deviation(errors, eps)
    tau_0 = p_1 * math.exp(-mu_1) + p_2 * math.exp(-mu_2)
    tau_1 = _tau_1(params)
    weight = (math.exp(mu_1) / p_1, math.exp(mu_2) / p_2)
    vacuum = min(2 * (tau_0 * weight[k] * clip(m[k] + spread_m, errors) + spread_n) for k in vacuum_classes)
    vacuum = clip(vacuum, total)
    ratio = (mu_2 / mu_1) ** 2
    single = (mu_1 * tau_1 / (mu_2 * (mu_1 - mu_2))) * (
        weight[1] * clip(n[1] - spread_n, total)
        - ratio * weight[0] * clip(n[0] + spread_n, total)
        - (1 - ratio) * vacuum / tau_0
    )
    return DecoyBounds(vacuum, clip(single, total), clip(single_photon_errors_upper(m, params, eps), errors))


def single_photon_errors_upper(m: tuple[int, ...], params: ProofParameters, eps: float) -> float:
    """v_1, before it is clipped as a whole."""
    (mu_1, mu_2), (p_1, p_2) = params.mean_photon_numbers, params.intensity_probabilities
    errors = sum(m)
    spread = hoeffding_deviation(errors, eps)
    signal = math.exp(mu_1) / p_1 * clip(m[0] + spread, errors)
    decoy = math.exp(mu_2) / p_2 * clip(m[1] - spread, errors)
    return _tau_1(params) / (mu_1 - mu_2) * (signal - decoy)


def vacuum_lower(n: tuple[int, ...], params: ProofParameters, eps: float) -> float:
    """Detections that came from pulses without photons, at least; >= 0."""
    (mu_1, mu_2), (p_1, p_2) = params.mean_photon_numbers, params.intensity_probabilities
    total = sum(n)
    spread = hoeffding_deviation(total, eps)
    tau_0 = p_1 * math.exp(-mu_1) + p_2 * math.exp(-mu_2)
    decoy = math.exp(mu_2) / p_2 * clip(n[1] - spread, total)
    signal = math.exp(mu_1) / p_1 * clip(n[0] + spread, total)
    return max(0.0, tau_0 / (mu_1 - mu_2) * (mu_1 * decoy - mu_2 * signal))


def _tau_1(params: ProofParameters) -> float:
    pairs = zip(params.mean_photon_numbers, params.intensity_probabilities, strict=True)
    return sum(p * math.exp(-mu) * mu for mu, p in pairs)
