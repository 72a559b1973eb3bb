"""Finite-key length of one-decoy BB84: Wiesemann, Krause, Tupkary, Lütkenhaus, Rusca, Walenta, Quantum 10, 2037 (2026),
arXiv:2405.16578v3, as the authors' published code evaluates it (docs/decisions/0003 says what was compared with what).

K is the key basis, T the test basis, k the intensity class with mean photon number mu_k and probability p_k,
mu_1 > mu_2 > 0; n_k detections, m_k errors, N and M their sums over the classes;
    tau_j = sum_k p_k exp(-mu_k) mu_k^j / j!,  eps_0 = eps_sec / 15,  delta(n) = sqrt(n/2 ln(1/eps_0))  (Hoeffding)
    n_k^+- = n_k +- delta(N),  m_k^+- = m_k +- delta(M),  all weighted by exp(mu_k)/p_k
    s_0^u = min_k 2 [tau_0 exp(mu_k)/p_k m_k^+ + delta(N)]                            vacuum detections, at most
    s_1^l = mu_1 tau_1 / (mu_2 (mu_1 - mu_2)) [exp(mu_2)/p_2 n_2^- - (mu_2/mu_1)^2 exp(mu_1)/p_1 n_1^+
            - (1 - (mu_2/mu_1)^2) s_0^u / tau_0]                                      single-photon detections, at least
    v_1^u = tau_1 / (mu_1 - mu_2) [exp(mu_1)/p_1 m_1^+ - exp(mu_2)/p_2 m_2^-]         their errors (T), at most
    phi   = v_1T/s_1T + sqrt((s_1K + s_1T)/(s_1K s_1T) (s_1T + 1)/s_1T ln(1/eps_0))   Serfling
    l     = s_1K (1 - h(phi)) - leakage - verification - 4 log2(15 / (eps_sec 2^(1/4)))

Clips, all of them facts about the true numbers: 0 <= n_k^+- <= N; 0 <= m_k^+- <= M; 0 <= s_0^u, s_1^l <= N;
0 <= v_1^u <= M_T; phi <= 1/2. Vacuum detections in K could be added to l; they are not. The verification hash costs
its length or with log2(2/eps_cor), whichever is more. Lengths are rounded down, never up; l <= 0 means no key.
"""

from __future__ import annotations

import math

from postproc.finite_key import assumptions as words
from postproc.finite_key import one_decoy
from postproc.finite_key import proof as common
from postproc.finite_key.entropy import binary_entropy as binary_entropy
from postproc.finite_key.one_decoy import DecoyBounds
from postproc.finite_key.proof import LengthMode, Proof, ProofParameters
from postproc.finite_key.sampling import serfling_excess
from postproc.records import BlockCounts, FiniteKeyResult

PROOF = "wiesemann2026/1"
EPS_TERMS = 15
CLASSES = one_decoy.CLASSES

ASSUMPTIONS = (
    words.ONE_DECOY,
    words.SOURCE,
    words.STATES,
    words.RECEIVER,
    words.DETECTORS,
    words.RANDOMNESS,
    words.AUTHENTICATION,
    words.FIXED_LENGTH,
)

CLIPS = (
    "detections of a class, as expectations: [0, N]",
    "errors of a class, as expectations: [0, M]",
    "vacuum and single-photon detections: [0, N]",
    "single-photon errors: [0, M_T] (the authors' code: [0, N_T])",
    "phase error ratio: [0, 1/2]",
)

EPSILON_SHARES = (("concentration, sampling, smoothing and privacy amplification, as in the authors' code", EPS_TERMS),)


def evaluate(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """Apply the proof to the counts of a block. leakage_bits: all disclosed bits but those of the verification hash.

    Raises InputOutOfRange when counts contradict themselves or parameters are outside the proof's range.
    """
    check_parameters(params)
    check_counts(counts)
    common.check_leakage(leakage_bits, verification_bits)
    key = decoy_bounds(counts.n_key, counts.m_key, params)
    test = decoy_bounds(counts.n_test, counts.m_test, params)
    phase_error = phase_error_bound(key.single_photon_lower, test, params.eps_sec)
    length = secret_length_bits(key.single_photon_lower, phase_error, leakage_bits, verification_bits, params)
    return FiniteKeyResult(
        proof=PROOF,
        single_photon_key=math.floor(key.single_photon_lower),
        single_photon_test=math.floor(test.single_photon_lower),
        phase_error_bound=phase_error,
        observed_length_bits=length,
        assumptions=ASSUMPTIONS,
        details={
            "vacuum_key_upper": key.vacuum_upper,
            "vacuum_test_upper": test.vacuum_upper,
            "single_photon_test_errors_upper": test.single_photon_errors_upper,
            "eps_0": params.eps_sec / EPS_TERMS,
            "fixed_cost_bits": fixed_cost_bits(verification_bits, params),
        },
    )


def secret_length_bits(
    single_photon_key: float, phase_error: float, leakage_bits: int, verification_bits: int, params: ProofParameters
) -> int:
    """l of the formula above for given bounds, rounded down, at least 0. The fixed-length plan uses it with its
    thresholds, the observed length with the bounds of the block."""
    entropy = single_photon_key * (1.0 - binary_entropy(phase_error))
    return max(0, math.floor(entropy - leakage_bits - fixed_cost_bits(verification_bits, params)))


def fixed_cost_bits(verification_bits: int, params: ProofParameters) -> float:
    """What every block pays whatever its size: verification and privacy amplification."""
    amplification = 4 * math.log2(EPS_TERMS / (params.eps_sec * 2**0.25))
    return max(verification_bits, math.log2(2 / params.eps_cor)) + amplification


def decoy_bounds(n: tuple[int, ...], m: tuple[int, ...], params: ProofParameters) -> DecoyBounds:
    """Vacuum, single-photon and single-photon-error bounds of one basis from detections n and errors m per class."""
    return one_decoy.bounds(n, m, params, params.eps_sec / EPS_TERMS)


def phase_error_bound(single_photon_key: float, test: DecoyBounds, eps_sec: float) -> float:
    """Upper bound on the phase error ratio of the single-photon detections of the key basis, at most 1/2."""
    in_test = test.single_photon_lower
    if single_photon_key <= 0 or in_test <= 0:
        return 0.5
    excess = serfling_excess(single_photon_key, in_test, eps_sec / EPS_TERMS)
    return min(0.5, min(0.5, test.single_photon_errors_upper / in_test) + excess)


def check_parameters(params: ProofParameters) -> None:
    """Refuse what the proof does not cover. Raises InputOutOfRange naming the value and its limit."""
    common.check_source(params, CLASSES)


def check_counts(counts: BlockCounts) -> None:
    """Refuse counts that no block can have."""
    common.check_counts(counts, CLASSES)


DESCRIPTION = Proof(
    id="wiesemann2026",
    version=1,
    source="Wiesemann et al., Quantum 10, 2037 (2026), arXiv:2405.16578v3, one decoy",
    mode=LengthMode.FIXED,
    is_for_key=True,
    intensities=CLASSES,
    assumptions=ASSUMPTIONS,
    clips=CLIPS,
    epsilon_shares=EPSILON_SHARES,
    evaluate=evaluate,
)
