"""Photon-number bounds of one basis from three intensities mu_1 > mu_2 + mu_3, mu_2 > mu_3 >= 0: Lim, Curty, Walenta,
Xu, Zbinden, PRA 89, 022307 (2014), eq. 2-4; tau_j = sum_k p_k exp(-mu_k) mu_k^j / j!, w_k = exp(mu_k)/p_k,

    s_0 >= tau_0 (mu_2 w_3 n_3^- - mu_3 w_2 n_2^+) / (mu_2 - mu_3)
    s_1 >= tau_1 mu_1 [w_2 n_2^- - w_3 n_3^+ - (mu_2^2 - mu_3^2)/mu_1^2 (w_1 n_1^+ - s_0/tau_0)]
           / (mu_1 (mu_2 - mu_3) - mu_2^2 + mu_3^2)
    v_1 <= tau_1 (w_2 m_2^+ - w_3 m_3^-) / (mu_2 - mu_3)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postproc.errors import InputOutOfRange
from postproc.finite_key.concentration import CountInterval
from postproc.finite_key.proof import ProofParameters, check_source, clip

CLASSES = 3


@dataclass(frozen=True, slots=True)
class TwoDecoyBounds:
    """Bounds of one basis, as real numbers. The first two count detections, the third errors."""

    vacuum_lower: float
    single_photon_lower: float
    single_photon_errors_upper: float


def check_parameters(params: ProofParameters) -> None:
    """Three descending intensities with mu_1 > mu_2 + mu_3. Raises InputOutOfRange."""
    check_source(params, CLASSES)
    mu_1, mu_2, mu_3 = params.mean_photon_numbers
    if not mu_1 > mu_2 + mu_3:
        raise InputOutOfRange(f"mean photon numbers {mu_1}, {mu_2}, {mu_3}: the first must exceed the others together")


def bounds(
    n: tuple[int, ...], m: tuple[int, ...], params: ProofParameters, eps: float, interval: CountInterval
) -> TwoDecoyBounds:
    """From detections n and errors m per class. Clips: counts in [0, N] or [0, M], vacuum and single-photon detections
    in [0, N], single-photon errors in [0, M]. `interval` bounds each expectation with failure probability eps per side.
    """
    mu_1, mu_2, mu_3 = params.mean_photon_numbers
    total, errors = sum(n), sum(m)
    weights = [
        math.exp(mu) / p for mu, p in zip(params.mean_photon_numbers, params.intensity_probabilities, strict=True)
    ]
    tau_0 = sum(1 / w for w in weights)
    tau_1 = sum(mu / w for mu, w in zip(params.mean_photon_numbers, weights, strict=True))
    low, high = zip(*(_weighted(interval(k, total, eps), w) for k, w in zip(n, weights, strict=True)), strict=True)
    vacuum = clip(tau_0 * (mu_2 * low[2] - mu_3 * high[1]) / (mu_2 - mu_3), total)
    bright = (mu_2**2 - mu_3**2) / mu_1**2 * (high[0] - vacuum / tau_0)
    single = tau_1 * mu_1 * (low[1] - high[2] - bright) / (mu_1 * (mu_2 - mu_3) - mu_2**2 + mu_3**2)
    wrong_high = _weighted(interval(m[1], errors, eps), weights[1])[1]
    wrong_low = _weighted(interval(m[2], errors, eps), weights[2])[0]
    single_errors = tau_1 * (wrong_high - wrong_low) / (mu_2 - mu_3)
    return TwoDecoyBounds(vacuum, clip(single, total), clip(single_errors, errors))


def _weighted(pair: tuple[float, float], weight: float) -> tuple[float, float]:
    return weight * pair[0], weight * pair[1]
