"""What every proof says about itself, and what it takes: integer counts, a source, two failure probabilities."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from postproc.errors import InputOutOfRange
from postproc.records import BlockCounts, FiniteKeyResult

LARGEST_MEAN_PHOTON_NUMBER = 2.0


class ProofParameters(Protocol):
    """The part of the agreed parameters that a proof reads (LinkParameters has it)."""

    @property
    def mean_photon_numbers(self) -> tuple[float, ...]: ...
    @property
    def intensity_probabilities(self) -> tuple[float, ...]: ...
    @property
    def eps_sec(self) -> float: ...
    @property
    def eps_cor(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Source:
    """ProofParameters on their own, for links that this node does not run and for papers.

    Intensities in the order signal, decoys descending; both tuples empty for an entangled source.
    """

    mean_photon_numbers: tuple[float, ...]
    intensity_probabilities: tuple[float, ...]
    eps_sec: float
    eps_cor: float


Evaluate = Callable[[BlockCounts, ProofParameters, int, int], FiniteKeyResult]
"""(counts, parameters, leakage_bits without verification, verification_bits) -> bounds and length."""


class LengthMode(StrEnum):
    """Fixed: length and thresholds precede the block. Variable: the length is a function of what was announced."""

    FIXED = "fixed-length"
    VARIABLE = "variable-length"


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as a pure function, with everything that is claimed for it in words.

    epsilon_shares: (what, number of equal shares of eps_sec); is_for_key: false for analyses that are kept to reproduce
    papers and are known to claim too much; intensities: classes of mean photon number, 1 for none (entangled pairs).
    """

    id: str
    version: int
    source: str
    mode: LengthMode
    is_for_key: bool
    intensities: int
    assumptions: tuple[str, ...]
    clips: tuple[str, ...]
    epsilon_shares: tuple[tuple[str, int], ...]
    evaluate: Evaluate

    @property
    def name(self) -> str:
        """Id and version, as parameters and records carry it."""
        return f"{self.id}/{self.version}"


def check_counts(counts: BlockCounts, classes: int) -> None:
    """Refuse counts that no block can have."""
    for n, m in ((counts.n_key, counts.m_key), (counts.n_test, counts.m_test)):
        if len(n) != classes or len(m) != classes or any(not 0 <= e <= d for e, d in zip(m, n, strict=True)):
            raise InputOutOfRange(
                f"detections {n} and errors {m}: {classes} intensity classes each, 0 <= errors <= detections"
            )


def check_source(params: ProofParameters, classes: int) -> None:
    """Refuse a source with another number of intensities, or one the decoy formulas do not cover.

    Raises InputOutOfRange naming the value and its limit.
    """
    mu, p = params.mean_photon_numbers, params.intensity_probabilities
    check_epsilons(params)
    if len(mu) != classes or len(p) != classes:
        raise InputOutOfRange(f"{len(mu)} mean photon numbers, {len(p)} probabilities: this proof is for {classes}")
    if any(not brighter > dimmer for brighter, dimmer in itertools.pairwise(mu)):
        raise InputOutOfRange(f"mean photon numbers {mu} must descend: signal first")
    if not mu[0] <= LARGEST_MEAN_PHOTON_NUMBER or mu[-1] < 0 or (classes == 2 and mu[-1] == 0):
        raise InputOutOfRange(
            f"mean photon numbers {mu}: signal <= {LARGEST_MEAN_PHOTON_NUMBER}, the last >= 0 (> 0 as the only decoy)"
        )
    if any(not 0 < x < 1 for x in p) or abs(sum(p) - 1) > 1e-9:
        raise InputOutOfRange(f"intensity probabilities {p} must lie in (0, 1) and add up to 1")


def check_epsilons(params: ProofParameters) -> None:
    """Refuse failure probabilities that mean nothing."""
    if not (0 < params.eps_sec < 0.1 and 0 < params.eps_cor < 0.1):
        raise InputOutOfRange(f"eps_sec {params.eps_sec}, eps_cor {params.eps_cor} must lie in (0, 0.1)")


def check_leakage(leakage_bits: int, verification_bits: int) -> None:
    """Refuse negative disclosures."""
    if leakage_bits < 0 or verification_bits < 0:
        raise InputOutOfRange(f"leakage {leakage_bits} and verification {verification_bits} bits must not be negative")


def clip(x: float, upper: float) -> float:
    """x in [0, upper]."""
    return max(0.0, min(float(upper), x))
