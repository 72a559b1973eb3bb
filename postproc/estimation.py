"""The integers of a block: detections and errors per intensity class, in both bases.

Bob counts the errors once the key is corrected and verified: with one decoy the proof needs those of the key basis too
(Rusca et al., APL 112, 171104 (2018); Wiesemann et al., Quantum 10, 2037 (2026)). Alice takes his numbers, after
checking that they can be true.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.records import BitArray, BlockCounts, Sifted
from postproc.symbols import INTENSITIES


def count_errors(sifted: Sifted, corrected_key: BitArray, reference_test_bits: BitArray) -> BlockCounts:
    """Bob's counts: his sifted bits against the corrected key and Alice's bits of the test basis."""
    if corrected_key.size != sifted.key_bits.size or reference_test_bits.size != sifted.test_bits.size:
        raise InputOutOfRange(
            f"{corrected_key.size} corrected bits for {sifted.key_bits.size} sifted ones, "
            f"{reference_test_bits.size} revealed test bits for {sifted.test_bits.size}"
        )
    return BlockCounts(
        n_key=_per_class(sifted.key_intensity),
        n_test=_per_class(sifted.test_intensity),
        m_key=_per_class(sifted.key_intensity[sifted.key_bits != corrected_key]),
        m_test=_per_class(sifted.test_intensity[sifted.test_bits != reference_test_bits]),
    )


def counts_from_errors(sifted: Sifted, m_key: tuple[int, ...], m_test: tuple[int, ...]) -> BlockCounts:
    """Alice's counts: detections from her own record, errors as Bob reports them.

    Raises ProtocolViolation unless there is one number per class and basis, none above the detections of its class.
    """
    n_key, n_test = _per_class(sifted.key_intensity), _per_class(sifted.test_intensity)
    for what, errors, detections in (("key", m_key, n_key), ("test", m_test, n_test)):
        if len(errors) != INTENSITIES:
            raise ProtocolViolation(f"{len(errors)} error counts in the {what} basis, {INTENSITIES} classes exist")
        if any(not 0 <= m <= n for m, n in zip(errors, detections, strict=True)):
            raise ProtocolViolation(f"error counts {errors} in the {what} basis exceed the detections {detections}")
    return BlockCounts(n_key=n_key, n_test=n_test, m_key=tuple(m_key), m_test=tuple(m_test))


def _per_class(intensity: NDArray[np.uint8]) -> tuple[int, ...]:
    """How many bits of each intensity class (signal, decoy)."""
    counts = np.bincount(intensity, minlength=INTENSITIES)
    if counts.size > INTENSITIES:
        raise InputOutOfRange(f"intensity class {counts.size - 1} does not exist, there are {INTENSITIES}")
    return tuple(int(n) for n in counts)
