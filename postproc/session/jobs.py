"""The computations of a round: frozen, importable, pure. The same jobs run live, in a replay and on a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from postproc import amplification, bits, reconciliation, verification
from postproc.reconciliation import CodePlan, DecodeResult
from postproc.records import BitArray


@dataclass(frozen=True, slots=True, repr=False)
class SyndromeJob:
    """Syndromes of all frames of the key under `plan`; packed bytes per frame."""

    plan: CodePlan
    key_bits: BitArray

    def run(self) -> tuple[bytes, ...]:
        """One syndrome per frame, in frame order."""
        frames = (reconciliation.frame(self.plan, self.key_bits, index) for index in range(self.plan.frames))
        return tuple(reconciliation.syndrome(self.plan, frame) for frame in frames)


@dataclass(frozen=True, slots=True, repr=False)
class ExtraSyndromeJob:
    """The further syndrome bits that `stronger` has over `plan`, for some frames."""

    plan: CodePlan
    stronger: CodePlan
    key_bits: BitArray
    frames: tuple[int, ...]

    def run(self) -> tuple[bytes, ...]:
        """One addition per frame of `frames`, in that order."""
        picked = (reconciliation.frame(self.stronger, self.key_bits, index) for index in self.frames)
        return tuple(reconciliation.extra_syndrome(self.plan, self.stronger, frame) for frame in picked)


@dataclass(frozen=True, slots=True, repr=False)
class DecodeJob:
    """Correct one noisy frame with all the syndrome bits disclosed so far."""

    plan: CodePlan
    frame: int
    noisy: BitArray
    syndrome: bytes
    qber: float

    def run(self) -> DecodeResult:
        """The decoder's result; success means that the syndrome is met, never that the frame is right."""
        return reconciliation.decode(self.plan, self.noisy, self.syndrome, self.qber)


@dataclass(frozen=True, slots=True, repr=False)
class HashJob:
    """The verification hash of the whole reconciled key."""

    key_bits: BitArray
    seed: bytes

    def run(self) -> bytes:
        """16 bytes."""
        return verification.polynomial_hash(bits.pack(self.key_bits), self.key_bits.size, self.seed)


@dataclass(frozen=True, slots=True, repr=False)
class AmplifyJob:
    """Toeplitz hashing of the reconciled key to `secret_bits` bits."""

    key_bits: BitArray
    seed_packed: bytes
    secret_bits: int

    def run(self) -> BitArray:
        """The secret key."""
        return amplification.toeplitz_hash(self.key_bits, self.seed_packed, self.secret_bits)
