"""Both sides keep the detections where they used the same basis.

Bob's bases arrive with an authentication tag of their own before Alice says anything (protocol §3.3); then she reveals
bases, intensity classes and her bits of the test basis in one `Reveal`. Its reading is strict: lengths, spare bits and
the number of test bits must be exactly what Bob's own record says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc import bits
from postproc.errors import InputOutOfRange
from postproc.messages import Bases, Reveal
from postproc.records import Basis, BitArray, Detections, Sifted
from postproc.symbols import split_symbols

KEY, TEST = int(Basis.Z), int(Basis.X)  # 0 and 1


@dataclass(frozen=True, slots=True)
class AliceReveal:
    """What Bob has learnt: Alice's basis and intensity class per detection, uint8 [n]; her bits where both used X."""

    basis: NDArray[np.uint8]
    intensity: NDArray[np.uint8]
    test_bits: BitArray


def sift_alice(raw_symbols: NDArray[np.uint8], bob_bases: NDArray[np.uint8]) -> Sifted:
    """Alice's bits where the bases agree. raw_symbols: symbol bytes of the detected slots; both uint8 [n].

    Raises InputOutOfRange on a symbol that may not enter a key."""
    basis, bit, intensity = split_symbols(raw_symbols)
    return _sift(basis, bit, intensity, bob_bases)


def sift_bob(detections: Detections, reveal: AliceReveal) -> Sifted:
    """Bob's bits where the bases agree."""
    return _sift(detections.basis, detections.bit, reveal.intensity, reveal.basis)


def make_bases(detections: Detections) -> Bases:
    """Bob's bases as he sends them."""
    return Bases(count=detections.basis.size, bases_packed=bits.pack(detections.basis))


def read_bases(message: Bases, detections: int) -> NDArray[np.uint8]:
    """Bob's bases, uint8 [detections]. Raises ProtocolViolation unless there is exactly one per announced slot."""
    return bits.unpack(message.bases_packed, detections)


def make_reveal(raw_symbols: NDArray[np.uint8], sifted: Sifted) -> Reveal:
    """What Alice says about the detected slots; her bits of the key basis are not in it."""
    basis, _, intensity = split_symbols(raw_symbols)
    return Reveal(
        bases_packed=bits.pack(basis),
        intensities_packed=bits.pack(intensity),
        test_bits_packed=bits.pack(sifted.test_bits),
    )


def read_reveal(message: Reveal, detections: Detections) -> AliceReveal:
    """Parse Alice's reveal against Bob's record. Raises ProtocolViolation when any length or spare bit is wrong."""
    count = detections.slot.size
    basis = bits.unpack(message.bases_packed, count)
    intensity = bits.unpack(message.intensities_packed, count)
    tested = int(np.count_nonzero((basis == Basis.X) & (detections.basis == Basis.X)))
    return AliceReveal(basis, intensity, bits.unpack(message.test_bits_packed, tested))


def _sift(
    own_basis: NDArray[np.uint8], own_bit: BitArray, intensity: NDArray[np.uint8], peer_basis: NDArray[np.uint8]
) -> Sifted:
    if not own_basis.size == own_bit.size == intensity.size == peer_basis.size:
        raise InputOutOfRange(
            f"sifting needs equal lengths: {own_basis.size} bases, {own_bit.size} bits, {intensity.size} intensities, "
            f"{peer_basis.size} bases of the peer"
        )
    n = own_basis.size
    key, test = np.empty((2, n), np.uint8), np.empty((2, n), np.uint8)
    if n == 0:
        return Sifted(key[0], key[1], test[0], test[1])
    keys, tests = _keep_agreeing(own_basis, own_bit, intensity, peer_basis, key[0], key[1], test[0], test[1])
    return Sifted(key[0, :keys], key[1, :keys], test[0, :tests], test[1, :tests])


@njit(nogil=True, cache=True)
def _keep_agreeing(own, bit, intensity, peer, key_bit, key_intensity, test_bit, test_intensity):  # type: ignore[no-untyped-def]  # fmt: skip
    """Every step writes, only the counts say what stays: no branch depends on the bases. Returns (keys, tests)."""
    keys = tests = np.uint64(0)
    for i in range(own.size):
        key_bit[keys] = test_bit[tests] = bit[i]
        key_intensity[keys] = test_intensity[tests] = intensity[i]
        keys += np.uint64((own[i] == KEY) & (peer[i] == KEY))
        tests += np.uint64((own[i] == TEST) & (peer[i] == TEST))
    return np.int64(keys), np.int64(tests)
