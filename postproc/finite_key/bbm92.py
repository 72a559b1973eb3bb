"""Finite-key length of BBM92 (entangled pairs, no decoys): Tomamichel, Leverrier, Quantum 1, 14 (2017), theorem 3.

n key bits, k test bits with error ratio delta; phi bounds the error ratio of the key bits in the test basis:

    l = floor( n (1 - h(phi)) - leakage - t - 2 log2(1/(2 eps_PA)) ),      eps_sec = eps_PE + eps_PA

* `tomamichel-leverrier2017`: phi = delta + nu with eps_PE(nu) = 2 exp(-n k^2 nu^2 / ((n + k)(k + 1)))   (Serfling)
* `bbm92-hypergeometric`: eps_PE = 2 sqrt(p) with p the exact probability, in the worst population, that k test bits
  show no more errors than these although more than phi n of the key bits have one (`sampling.most_errors_unseen`).
How eps_sec is divided follows from n, k and delta, which a fixed-length block fixes beforehand. t: verification.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from postproc.finite_key import assumptions as words
from postproc.finite_key import proof as common
from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import LengthMode, Proof, ProofParameters
from postproc.finite_key.sampling import most_errors_unseen
from postproc.records import BlockCounts, FiniteKeyResult

NAME = "tomamichel-leverrier2017/1"
EXACT_NAME = "bbm92-hypergeometric/1"
ASSUMPTIONS = (
    words.ENTANGLED, words.BOTH_RECEIVERS, words.DETECTORS, words.RANDOMNESS, words.AUTHENTICATION, words.FIXED_LENGTH,
)  # fmt: skip
SPLITS = (0.5, 0.75, 0.9, 0.97, 0.99, 0.997)  # tried shares of eps_sec for parameter estimation

PhaseBound = Callable[[int, int, int, float], float]
"""(key bits, test bits, errors among them, eps_PE) -> bound of the phase error ratio, at most 1/2."""


def evaluate(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """`tomamichel-leverrier2017`; one class of counts. Raises InputOutOfRange for counts that contradict themselves."""
    return _evaluate(counts, params, leakage_bits, verification_bits, NAME, serfling_phase_error)


def evaluate_exact(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    """`bbm92-hypergeometric`; one class of counts. Raises InputOutOfRange for counts that contradict themselves."""
    return _evaluate(counts, params, leakage_bits, verification_bits, EXACT_NAME, exact_phase_error)


def serfling_phase_error(key_bits: int, test_bits: int, errors: int, eps_pe: float) -> float:
    """delta + nu."""
    if key_bits == 0 or test_bits == 0:
        return 0.5
    n, k = key_bits, test_bits
    return min(0.5, errors / k + math.sqrt((n + k) * (k + 1) / (n * k * k) * math.log(2 / eps_pe)))


def exact_phase_error(key_bits: int, test_bits: int, errors: int, eps_pe: float) -> float:
    """Errors of the key bits that the exact tail cannot exclude, as a ratio."""
    if key_bits == 0 or test_bits == 0:
        return 0.5
    return min(0.5, most_errors_unseen(key_bits, test_bits, errors, (eps_pe / 2) ** 2) / key_bits)


def _evaluate(
    counts: BlockCounts,
    params: ProofParameters,
    leakage_bits: int,
    verification_bits: int,
    name: str,
    phase_bound: PhaseBound,
) -> FiniteKeyResult:
    common.check_epsilons(params)
    common.check_counts(counts, 1)
    common.check_leakage(leakage_bits, verification_bits)
    (n,), (k,), (errors,) = counts.n_key, counts.n_test, counts.m_test
    fixed = leakage_bits + max(verification_bits, math.ceil(math.log2(1 / params.eps_cor)))
    phases = [phase_bound(n, k, errors, split * params.eps_sec) for split in SPLITS]
    lengths = [
        n * (1 - binary_entropy(phase)) - fixed - 2 * math.log2(1 / (2 * (1 - split) * params.eps_sec))
        for phase, split in zip(phases, SPLITS, strict=True)
    ]
    best = max(range(len(SPLITS)), key=lengths.__getitem__)
    return FiniteKeyResult(
        proof=name,
        single_photon_key=n,
        single_photon_test=k,
        phase_error_bound=phases[best],
        observed_length_bits=max(0, math.floor(lengths[best])),
        assumptions=ASSUMPTIONS,
        details={"eps_pe": SPLITS[best] * params.eps_sec, "eps_pa": (1 - SPLITS[best]) * params.eps_sec},
    )


def _description(identity: str, source: str, evaluator: common.Evaluate) -> Proof:
    return Proof(
        id=identity,
        version=1,
        source=source,
        mode=LengthMode.FIXED,
        is_for_key=True,
        intensities=1,
        assumptions=ASSUMPTIONS,
        clips=("phase error ratio: [0, 1/2]",),
        epsilon_shares=(("parameter estimation and privacy amplification, in the best of six divisions", 1),),
        evaluate=evaluator,
    )


DESCRIPTION = _description(
    "tomamichel-leverrier2017", "Tomamichel, Leverrier, Quantum 1, 14 (2017), theorem 3", evaluate
)
EXACT = _description(
    "bbm92-hypergeometric",
    "Tomamichel, Leverrier (2017) with the exact hypergeometric tail in place of Serfling's bound",
    evaluate_exact,
)
