"""Every bit about the key that leaves a node in a round, counted where it leaves, in both directions."""

from __future__ import annotations

from postproc.errors import ProtocolViolation
from postproc.records import LeakageEntry

FORWARD = "alice->bob"
BACKWARD = "bob->alice"


class LeakageLedger:
    """Charges of one round. A frame that is disclosed in full is charged with its length in place of its syndromes."""

    def __init__(self, frames: int) -> None:
        self._syndrome_bits = [0] * frames
        self._disclosed_bits = [0] * frames
        self._success_bits = 0
        self._verification_bits = 0
        self._error_count_bits = 0

    def charge_syndrome(self, frame: int, bits: int) -> None:
        """Syndrome bits of a frame; later ones add to the first."""
        self._syndrome_bits[frame] += bits

    def charge_success_bits(self, bits: int) -> None:
        """Bob's report which frames decoded: one bit each."""
        self._success_bits += bits

    def charge_disclosure(self, frame: int, bits: int) -> None:
        """A frame disclosed in full. Raises ProtocolViolation if it was disclosed before."""
        if self._disclosed_bits[frame]:
            raise ProtocolViolation(f"frame {frame} was disclosed twice")
        self._disclosed_bits[frame] = bits
        self._syndrome_bits[frame] = 0

    def charge_error_counts(self, n_key: tuple[int, ...]) -> None:
        """The error counts m_K of each intensity class take one of n + 1 values: ceil(log2(n + 1)) bits each
        (protocol §3.7).
        """
        self._error_count_bits = sum(n.bit_length() for n in n_key)

    def charge_verification(self, bits: int) -> None:
        """The value of the verification hash."""
        self._verification_bits = bits

    def entries(self) -> tuple[LeakageEntry, ...]:
        """What was charged so far, by part and direction; parts of zero bits are left out."""
        parts = (
            LeakageEntry("syndromes", FORWARD, sum(self._syndrome_bits)),
            LeakageEntry("frames disclosed in full", FORWARD, sum(self._disclosed_bits)),
            LeakageEntry("frame success bits", BACKWARD, self._success_bits),
            LeakageEntry("verification hash", FORWARD, self._verification_bits),
            LeakageEntry("key-basis error counts", BACKWARD, self._error_count_bits),
        )
        return tuple(part for part in parts if part.bits)

    @property
    def forward_bits(self) -> int:
        """What Alice disclosed to let Bob correct: syndromes and frames in full."""
        return sum(self._syndrome_bits) + sum(self._disclosed_bits)

    @property
    def verification_bits(self) -> int:
        """Charged in place of the log2(2/eps_cor) term of the proof, hence not part of `without_verification_bits`."""
        return self._verification_bits

    @property
    def without_verification_bits(self) -> int:
        """All but the verification hash: the leakage term of the proof."""
        return self.forward_bits + self._success_bits + self._error_count_bits
