"""One decoy, variable length: the length is computed from what the block showed, not fixed before it.

Theorem: Tupkary, Tan, Lütkenhaus, PRR 6, 023002 (2024) and Tupkary, Nahar, Sinha, Lütkenhaus, Quantum 9, 1937 (2025).
If Pr[true s_1K < S or true phase error ratio > phi] <= eps_AT^2 for every attack, S and phi functions of announced
counts,

    l = floor( S (1 - h(phi)) - leakage - 2 log2(1/(2 eps_PA)) - max(verification, log2(2/eps_EV)) )

is (2 eps_AT + eps_PA)-secret and eps_EV-correct (the authors' code for the second paper, commit 196394c, has the same
length). Here eps_AT = eps_PA = eps_sec/3, and eps_AT^2 is divided equally among 12 events: in each basis two deviations
of detections, two of errors, one of vacuum errors about one half; once more an error deviation for v_1; Serfling's
sampling, whose event has probability eps^2 by construction.
"""

from __future__ import annotations

import math

from postproc.finite_key import assumptions as words
from postproc.finite_key import one_decoy
from postproc.finite_key import proof as common
from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import LengthMode, Proof, ProofParameters
from postproc.finite_key.sampling import serfling_excess
from postproc.records import BlockCounts, FiniteKeyResult

NAME = "one-decoy-variable/1"
EVENTS = 12
ASSUMPTIONS = (
    words.ONE_DECOY, words.SOURCE, words.STATES, words.RECEIVER, words.DETECTORS, words.RANDOMNESS,
    words.AUTHENTICATION, words.VARIABLE_LENGTH,
)  # fmt: skip


def evaluate(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """leakage_bits: a number that is fixed, or follows from announced counts; not what happened to be disclosed.

    Raises InputOutOfRange for counts or parameters outside the proof's range.
    """
    common.check_source(params, one_decoy.CLASSES)
    common.check_counts(counts, one_decoy.CLASSES)
    common.check_leakage(leakage_bits, verification_bits)
    event = event_probability(params, EVENTS)
    key = one_decoy.bounds(counts.n_key, counts.m_key, params, event)
    test = one_decoy.bounds(counts.n_test, counts.m_test, params, event)
    phase_error = 0.5
    if key.single_photon_lower > 0 and test.single_photon_lower > 0:
        ratio = min(0.5, test.single_photon_errors_upper / test.single_photon_lower)
        excess = serfling_excess(key.single_photon_lower, test.single_photon_lower, math.sqrt(event))
        phase_error = min(0.5, ratio + excess)
    length = secret_length_bits(key.single_photon_lower, phase_error, leakage_bits, verification_bits, params)
    return FiniteKeyResult(
        proof=NAME,
        single_photon_key=math.floor(key.single_photon_lower),
        single_photon_test=math.floor(test.single_photon_lower),
        phase_error_bound=phase_error,
        observed_length_bits=length,
        assumptions=ASSUMPTIONS,
        details={"event_probability": event, "single_photon_test_errors_upper": test.single_photon_errors_upper},
    )


def event_probability(params: ProofParameters, events: int) -> float:
    """What each of the events may fail with: eps_AT^2 over their number."""
    return (params.eps_sec / 3) ** 2 / events


def secret_length_bits(
    single_photon_key: float, phase_error: float, leakage_bits: int, verification_bits: int, params: ProofParameters
) -> int:
    """l of the formula above, at least 0."""
    amplification = 2 * math.log2(1 / (2 * params.eps_sec / 3))
    verification = max(verification_bits, math.log2(2 / params.eps_cor))
    entropy = single_photon_key * (1 - binary_entropy(phase_error))
    return max(0, math.floor(entropy - leakage_bits - amplification - verification))


DESCRIPTION = Proof(
    id="one-decoy-variable",
    version=1,
    source="Tupkary, Tan, Lütkenhaus, PRR 6, 023002 (2024), with the bounds of Rusca et al. (2018) and Serfling (1974)",
    mode=LengthMode.VARIABLE,
    is_for_key=True,
    intensities=one_decoy.CLASSES,
    assumptions=ASSUMPTIONS,
    clips=(
        "detections of a class, as expectations: [0, N]",
        "errors of a class, as expectations: [0, M]",
        "vacuum and single-photon detections: [0, N]",
        "single-photon errors: [0, M_T]",
        "phase error ratio: [0, 1/2]",
    ),
    epsilon_shares=(("acceptance, 2 eps_AT: 12 events of probability eps_AT^2/12", 2), ("privacy amplification", 1)),
    evaluate=evaluate,
)
