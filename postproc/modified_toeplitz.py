"""Privacy amplification by the modified Toeplitz matrix [T | I]: a shorter seed, and less work, for the same security.

The first n - m key bits are hashed by an m x (n - m) Toeplitz matrix (postproc.amplification) and the last m are added:
    y_i = k_(n-m+i) + XOR over j < n - m of s_(i - j + n - m - 1) k_j,   i = 0..m-1,
with a seed of n - 1 bits in place of n + m - 1. The family is universal_2: two keys that differ in the first n - m bits
agree with probability 2^-m over the seed, two that differ only in the last m never (Hayashi, IEEE Trans. Inf. Theory
57, 3989 (2011); Hayashi and Tsurumaru, ibid. 62, 2213 (2016)). It is not XOR-universal. Both nodes must use the same of
the two families; the secret keys are different ones.
"""

from __future__ import annotations

from postproc import amplification
from postproc.bits import pack, unpack
from postproc.errors import InputOutOfRange
from postproc.records import BitArray


def modified_seed_bits_needed(n: int) -> int:
    """Length of the seed that hashes n bits, whatever the output length."""
    return n - 1


def modified_toeplitz_hash(key_bits: BitArray, seed_packed: bytes, m: int) -> BitArray:
    """Hash uint8[n] to uint8[m], 0 <= m < n; the seed is n - 1 bits, packed (postproc.bits).

    Raises InputOutOfRange; ProtocolViolation when the seed has another length.
    """
    return unpack(modified_toeplitz_hash_packed(pack(key_bits), key_bits.size, seed_packed, m), m)


def modified_toeplitz_hash_packed(key_packed: bytes, n: int, seed_packed: bytes, m: int) -> bytes:
    """`modified_toeplitz_hash` of n packed bits to m packed bits; InputOutOfRange also for a key of another length."""
    if not 0 <= m < n:
        raise InputOutOfRange(f"modified Toeplitz hash of {n} bits to {m}: the result must be shorter than the key")
    amplification.require_packed(key_packed, n, "key", InputOutOfRange)
    key = int.from_bytes(key_packed, "little")
    first = n - m
    hashed = amplification.toeplitz_hash_packed(
        (key & ((1 << first) - 1)).to_bytes((first + 7) // 8, "little"), first, seed_packed, m
    )
    return (int.from_bytes(hashed, "little") ^ key >> first).to_bytes((m + 7) // 8, "little")
