"""Finite-key length with two decoys: Lim, Curty, Walenta, Xu, Zbinden, PRA 89, 022307 (2014), twice.

    l = s_0K + s_1K (1 - h(phi)) - leakage - 6 log2(21/eps_sec) - max(verification, log2(2/eps_cor))

* `lim2014-serfling`: phi = v_1T/s_1T + Serfling's excess at the event probability (eps_sec/21)^2, as smoothing by eps
  asks for (Tomamichel-Leverrier 2017, Wiesemann 2026). Default for three intensities.
* `lim2014`, legacy: phi with the Fung-Ma-Chau gamma of the paper; to reproduce its figures only.
Decoy bounds: `two_decoys`, Hoeffding with eps_sec/21. Lengths are rounded down; l <= 0 means no key.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from postproc.finite_key import assumptions as words
from postproc.finite_key import proof as common
from postproc.finite_key import two_decoys
from postproc.finite_key.concentration import CountInterval, hoeffding_interval
from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import LengthMode, Proof, ProofParameters
from postproc.finite_key.sampling import fung_ma_chau_excess, serfling_excess
from postproc.records import BlockCounts, FiniteKeyResult

NAME = "lim2014-serfling/1"
LEGACY_NAME = "lim2014/1"
EPS_TERMS = 21
ASSUMPTIONS = (
    words.TWO_DECOYS, words.SOURCE, words.STATES, words.RECEIVER, words.DETECTORS, words.RANDOMNESS,
    words.AUTHENTICATION, words.FIXED_LENGTH,
)  # fmt: skip
CLIPS = (
    "detections of a class, as expectations: [0, N]",
    "errors of a class, as expectations: [0, M]",
    "vacuum and single-photon detections: [0, N]",
    "single-photon errors: [0, M_T]",
    "phase error ratio: [0, 1/2]",
)
EPSILON_SHARES = (
    ("smoothing and chain rules: 2 (2 alpha_1 + alpha_2 + alpha_3)", 8),
    ("privacy amplification", 1),
    ("concentration: 10 of detections, 2 of errors", 12),
)

Excess = Callable[[float, float, float, float], float]
"""(single photons in K, in T, error ratio in T, eps) -> how much higher the phase error ratio in K may be."""


def evaluate(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """`lim2014-serfling`. Raises InputOutOfRange for counts or parameters outside the proof's range."""
    return evaluate_with(
        counts, params, leakage_bits, verification_bits, name=NAME, assumptions=ASSUMPTIONS, excess=_serfling
    )


def evaluate_legacy(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """`lim2014` as printed. Raises InputOutOfRange for counts or parameters outside its range."""
    return evaluate_with(
        counts,
        params,
        leakage_bits,
        verification_bits,
        name=LEGACY_NAME,
        assumptions=(words.LEGACY, *ASSUMPTIONS),
        excess=fung_ma_chau_excess,
    )


def evaluate_with(
    counts: BlockCounts,
    params: ProofParameters,
    leakage_bits: int,
    verification_bits: int,
    *,
    name: str,
    assumptions: tuple[str, ...],
    excess: Excess,
    interval: CountInterval = hoeffding_interval,
) -> FiniteKeyResult:
    """The formula with a sampling bound and a concentration bound of choice: to compare, under a name of its own."""
    two_decoys.check_parameters(params)
    common.check_counts(counts, two_decoys.CLASSES)
    common.check_leakage(leakage_bits, verification_bits)
    eps = params.eps_sec / EPS_TERMS
    key = two_decoys.bounds(counts.n_key, counts.m_key, params, eps, interval)
    test = two_decoys.bounds(counts.n_test, counts.m_test, params, eps, interval)
    phase_error = 0.5
    if key.single_photon_lower > 0 and test.single_photon_lower > 0:
        ratio = min(0.5, test.single_photon_errors_upper / test.single_photon_lower)
        phase_error = min(0.5, ratio + excess(key.single_photon_lower, test.single_photon_lower, ratio, eps))
    length = (
        key.vacuum_lower
        + key.single_photon_lower * (1 - binary_entropy(phase_error))
        - leakage_bits
        - 6 * math.log2(1 / eps)
        - max(verification_bits, math.log2(2 / params.eps_cor))
    )
    return FiniteKeyResult(
        proof=name,
        single_photon_key=math.floor(key.single_photon_lower),
        single_photon_test=math.floor(test.single_photon_lower),
        phase_error_bound=phase_error,
        observed_length_bits=max(0, math.floor(length)),
        assumptions=assumptions,
        details={
            "vacuum_key_lower": key.vacuum_lower,
            "single_photon_test_errors_upper": test.single_photon_errors_upper,
        },
    )


def _serfling(in_key: float, in_test: float, _ratio: float, eps: float) -> float:
    return serfling_excess(in_key, in_test, eps)


DESCRIPTION = Proof(
    id="lim2014-serfling",
    version=1,
    source="Lim et al., PRA 89, 022307 (2014), two decoys, sampling by Serfling",
    mode=LengthMode.FIXED,
    is_for_key=True,
    intensities=two_decoys.CLASSES,
    assumptions=ASSUMPTIONS,
    clips=CLIPS,
    epsilon_shares=EPSILON_SHARES,
    evaluate=evaluate,
)

LEGACY = Proof(
    id="lim2014",
    version=1,
    source="Lim et al., PRA 89, 022307 (2014), two decoys, legacy",
    mode=LengthMode.FIXED,
    is_for_key=False,
    intensities=two_decoys.CLASSES,
    assumptions=(words.LEGACY, *ASSUMPTIONS),
    clips=CLIPS,
    epsilon_shares=EPSILON_SHARES,
    evaluate=evaluate_legacy,
)
