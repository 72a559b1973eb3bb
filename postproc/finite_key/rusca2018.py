"""Legacy one-decoy analysis, for reproducing papers only: Rusca, Boaron, Grünenfelder, Martin, Zbinden, APL 112, 171104
(2018), with exp(mu_k)/p_k in front of the errors as well (eq. A18 as printed leaves it out).

    l = s_0K + s_1K (1 - h(phi)) - leakage - 6 log2(19/eps_sec) - max(verification, log2(2/eps_cor))
    phi = v_1T/s_1T + gamma(eps_sec/19, v_1T/s_1T, s_1T, s_1K)                 (Fung-Ma-Chau, see `sampling`)

The vacuum detections are bounded with the errors of the decoy class, the single-photon errors clipped at N_T: so does
the interval-arithmetic reference whose published vector this module reproduces to the bit.
"""

from __future__ import annotations

import math

from postproc.finite_key import assumptions as words
from postproc.finite_key import one_decoy
from postproc.finite_key import proof as common
from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import LengthMode, Proof, ProofParameters
from postproc.finite_key.sampling import fung_ma_chau_excess
from postproc.records import BlockCounts, FiniteKeyResult

NAME = "rusca2018/1"
EPS_TERMS = 19
VACUUM_CLASSES = (1,)
ASSUMPTIONS = (
    words.LEGACY, words.ONE_DECOY, words.SOURCE, words.STATES, words.RECEIVER, words.DETECTORS, words.RANDOMNESS,
    words.AUTHENTICATION, words.FIXED_LENGTH,
)  # fmt: skip


def evaluate(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """The paper's length for these counts. Raises InputOutOfRange for counts or parameters outside its range."""
    common.check_source(params, one_decoy.CLASSES)
    common.check_counts(counts, one_decoy.CLASSES)
    common.check_leakage(leakage_bits, verification_bits)
    eps = params.eps_sec / EPS_TERMS
    key = one_decoy.bounds(counts.n_key, counts.m_key, params, eps, VACUUM_CLASSES)
    test = one_decoy.bounds(counts.n_test, counts.m_test, params, eps, VACUUM_CLASSES)
    vacuum = one_decoy.vacuum_lower(counts.n_key, params, eps)
    errors = common.clip(one_decoy.single_photon_errors_upper(counts.m_test, params, eps), sum(counts.n_test))
    phase_error = _phase_error_bound(key.single_photon_lower, test.single_photon_lower, errors, eps)
    length = (
        vacuum
        + key.single_photon_lower * (1 - binary_entropy(phase_error))
        - leakage_bits
        - fixed_cost_bits(params, verification_bits)
    )
    return FiniteKeyResult(
        proof=NAME,
        single_photon_key=math.floor(key.single_photon_lower),
        single_photon_test=math.floor(test.single_photon_lower),
        phase_error_bound=phase_error,
        observed_length_bits=max(0, math.floor(length)),
        assumptions=ASSUMPTIONS,
        details={"vacuum_key_lower": vacuum, "single_photon_test_errors_upper": errors},
    )


def fixed_cost_bits(params: ProofParameters, verification_bits: int) -> float:
    """What every block pays whatever its size."""
    return 6 * math.log2(EPS_TERMS / params.eps_sec) + max(verification_bits, math.log2(2 / params.eps_cor))


def _phase_error_bound(in_key: float, in_test: float, errors: float, eps: float) -> float:
    if in_key <= 0 or in_test <= 0 or errors >= in_test / 2:
        return 0.5
    return min(0.5, errors / in_test + fung_ma_chau_excess(in_key, in_test, errors / in_test, eps))


DESCRIPTION = Proof(
    id="rusca2018",
    version=1,
    source="Rusca et al., APL 112, 171104 (2018), one decoy, legacy",
    mode=LengthMode.FIXED,
    is_for_key=False,
    intensities=one_decoy.CLASSES,
    assumptions=ASSUMPTIONS,
    clips=(
        "detections of a class, as expectations: [0, N]",
        "errors of a class, as expectations: [0, M]",
        "vacuum and single-photon detections: [0, N], lower bound of the vacuum: >= 0",
        "single-photon errors: [0, N_T]",
        "phase error ratio: [0, 1/2]",
    ),
    epsilon_shares=(("smoothing and chain rules", 8), ("privacy amplification", 1), ("concentration", 10)),
    evaluate=evaluate,
)
