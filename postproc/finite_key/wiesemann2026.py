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
from dataclasses import dataclass

from postproc.errors import InputOutOfRange
from postproc.records import BlockCounts, FiniteKeyResult, LinkParameters

PROOF = "wiesemann2026/1"
EPS_TERMS = 15
CLASSES = 2

ASSUMPTIONS = (
    "Protocol: BB84 with four states in two mutually unbiased bases and one decoy intensity; both outcomes of the test "
    "basis are measured; blocks are fixed intervals of sent slots.",
    "Source: pulse phases are uniformly random; mean photon numbers and probabilities of the intensity classes are "
    "exactly those configured, independent from slot to slot and of state and basis (no side channel, no correlation, "
    "no Trojan-horse leakage).",
    "State preparation: the four states are ideal up to a rotation common to both bases (basis-independent source).",
    "Receiver: the probability of a detection does not depend on the basis (equal efficiency, dark counts and losses "
    "of all detectors and arms); double and cross-basis clicks are assigned at random; a common dead time follows every "
    "click.",
    "Detectors and electronics behave as described: no blinding, no control by light, no leakage of outcomes.",
    "Randomness of states, intensities, hash seeds and random assignments is uniform, independent and private.",
    "Classical messages are authentic; the failure probability of authentication is accounted separately (eps_auth).",
    "Secret length, leakage budget and acceptance thresholds were fixed before the first slot of the block.",
)


@dataclass(frozen=True, slots=True)
class DecoyBounds:
    """Bounds of one basis, as real numbers. The first two count detections, the third errors."""

    vacuum_upper: float
    single_photon_lower: float
    single_photon_errors_upper: float


def evaluate(counts: BlockCounts, params: LinkParameters, leakage_bits: int, verification_bits: int) -> FiniteKeyResult:
    """Apply the proof to the counts of a block. leakage_bits: all disclosed bits but those of the verification hash.

    Raises InputOutOfRange when counts contradict themselves or parameters are outside the proof's range.
    """
    check_parameters(params)
    check_counts(counts)
    if leakage_bits < 0 or verification_bits < 0:
        raise InputOutOfRange(f"leakage {leakage_bits} and verification {verification_bits} bits must not be negative")
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
    single_photon_key: float, phase_error: float, leakage_bits: int, verification_bits: int, params: LinkParameters
) -> int:
    """l of the formula above for given bounds, rounded down, at least 0. The fixed-length plan uses it with its
    thresholds, the observed length with the bounds of the block."""
    entropy = single_photon_key * (1.0 - binary_entropy(phase_error))
    return max(0, math.floor(entropy - leakage_bits - fixed_cost_bits(verification_bits, params)))


def fixed_cost_bits(verification_bits: int, params: LinkParameters) -> float:
    """What every block pays whatever its size: verification and privacy amplification."""
    amplification = 4 * math.log2(EPS_TERMS / (params.eps_sec * 2**0.25))
    return max(verification_bits, math.log2(2 / params.eps_cor)) + amplification


def decoy_bounds(n: tuple[int, ...], m: tuple[int, ...], params: LinkParameters) -> DecoyBounds:
    """Vacuum, single-photon and single-photon-error bounds of one basis from detections n and errors m per class."""
    (mu_1, mu_2), (p_1, p_2) = params.mean_photon_numbers, params.intensity_probabilities
    eps_0 = params.eps_sec / EPS_TERMS
    total, errors = sum(n), sum(m)
    spread_n, spread_m = _hoeffding(total, eps_0), _hoeffding(errors, eps_0)
    tau_0 = p_1 * math.exp(-mu_1) + p_2 * math.exp(-mu_2)
    tau_1 = p_1 * math.exp(-mu_1) * mu_1 + p_2 * math.exp(-mu_2) * mu_2
    weight_1, weight_2 = math.exp(mu_1) / p_1, math.exp(mu_2) / p_2
    errors_1_upper = _clip(m[0] + spread_m, errors)
    errors_2_upper = _clip(m[1] + spread_m, errors)
    errors_2_lower = _clip(m[1] - spread_m, errors)
    vacuum = min(2 * (tau_0 * weight_1 * errors_1_upper + spread_n), 2 * (tau_0 * weight_2 * errors_2_upper + spread_n))
    vacuum = _clip(vacuum, total)
    ratio = (mu_2 / mu_1) ** 2
    single = (mu_1 * tau_1 / (mu_2 * (mu_1 - mu_2))) * (
        weight_2 * _clip(n[1] - spread_n, total)
        - ratio * weight_1 * _clip(n[0] + spread_n, total)
        - (1 - ratio) * vacuum / tau_0
    )
    single_errors = tau_1 / (mu_1 - mu_2) * (weight_1 * errors_1_upper - weight_2 * errors_2_lower)
    return DecoyBounds(vacuum, _clip(single, total), _clip(single_errors, errors))


def phase_error_bound(single_photon_key: float, test: DecoyBounds, eps_sec: float) -> float:
    """Upper bound on the phase error ratio of the single-photon detections of the key basis, at most 1/2."""
    in_test = test.single_photon_lower
    if single_photon_key <= 0 or in_test <= 0:
        return 0.5
    serfling = math.sqrt(
        (single_photon_key + in_test)
        / (single_photon_key * in_test)
        * (in_test + 1)
        / in_test
        * math.log(EPS_TERMS / eps_sec)
    )
    return min(0.5, min(0.5, test.single_photon_errors_upper / in_test) + serfling)


def binary_entropy(x: float) -> float:
    """h(x) in bits for 0 <= x <= 1; 1 above 1/2 (a bound on an error ratio that large leaves nothing)."""
    if x >= 0.5:
        return 1.0
    if x <= 0:
        return 0.0
    return -x * math.log2(x) - (1 - x) * math.log2(1 - x)


def check_parameters(params: LinkParameters) -> None:
    """Refuse what the proof does not cover. Raises InputOutOfRange naming the value and its limit."""
    (mu_1, mu_2), (p_1, p_2) = params.mean_photon_numbers, params.intensity_probabilities
    if not 0 < mu_2 < mu_1 <= 2:
        raise InputOutOfRange(f"mean photon numbers {mu_1}, {mu_2}: 0 < decoy < signal <= 2 required")
    if not (0 < p_1 < 1 and 0 < p_2 < 1 and abs(p_1 + p_2 - 1) < 1e-9):
        raise InputOutOfRange(f"intensity probabilities {p_1}, {p_2} must lie in (0, 1) and add up to 1")
    if not (0 < params.eps_sec < 0.1 and 0 < params.eps_cor < 0.1):
        raise InputOutOfRange(f"eps_sec {params.eps_sec}, eps_cor {params.eps_cor} must lie in (0, 0.1)")


def check_counts(counts: BlockCounts) -> None:
    """Refuse counts that no block can have."""
    for n, m in ((counts.n_key, counts.m_key), (counts.n_test, counts.m_test)):
        if len(n) != CLASSES or len(m) != CLASSES or any(not 0 <= e <= d for e, d in zip(m, n, strict=True)):
            raise InputOutOfRange(f"detections {n} and errors {m}: two classes each, 0 <= errors <= detections")


def _hoeffding(n: int, eps: float) -> float:
    return math.sqrt(n / 2 * math.log(1 / eps))


def _clip(x: float, upper: float) -> float:
    return max(0.0, min(float(upper), x))
