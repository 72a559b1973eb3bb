"""Privacy amplification by Toeplitz hashing, exact: no floating point anywhere.

With key bits k_0..k_(n-1) and seed bits s_0..s_(n+m-2) the secret key is
    y_i = XOR over j of T_ij k_j,   T_ij = s_(i - j + n - 1),   i = 0..m-1,
so the first row of T is s_(n-1)..s_0 and its first column s_(n-1)..s_(n+m-2). For a uniform seed this family is
(XOR-)universal_2: Krawczyk, CRYPTO '94; Carter and Wegman 1979. The seed may be public, and must be fresh and
independent of the key.

As polynomials over GF(2), y_i is the coefficient of x^(i + n - 1) in S(x) K(x). With the key zero-extended to N B >= n
bits and the seed multiplied by x^(N B - n + 1), the secret key is the coefficients from x^(N B) on: whole blocks of B
bits of a product, which postproc.block_convolution computes in a time that grows almost linearly with n + m.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from postproc.bits import pack, unpack
from postproc.block_convolution import best_log2_points, convolve
from postproc.errors import InputOutOfRange, ProtocolViolation, SelfTestFailed
from postproc.gf2 import to_bytes, to_words
from postproc.gf2_vectors import Lanes, available_lanes
from postproc.integers import SplitMix64
from postproc.records import BitArray

MAX_BITS = 1 << 27
_KNOWN: tuple[tuple[int, int, str], ...] = (  # n, m, secret key
    (37, 100, "923fbcd1ea8e27f0832ad29807"),
    (1000, 128, "2ad2ae9ea7dbec7e0b98c1d274425454"),
    (
        2000,
        1200,
        "085da1cc2f797fd1d5f61df1cb65ee216f94c1444cb1ccbce643d89083cb54a63650cbef76ebb1b05055fc389cf82a8b2371"
        "82af91c01a000bdaddab4ae2a6437a351300fff4ae6f17cb96c7183b989e8ad5ae786484ebc44ec2ae2ca2c88b936c2ba7c1"
        "d8f3d30ee878d4f789156cb300cde0a923c381bd68112b871930643dead1c406cdf71a69665afcfdc74fc951ec9f672e2893",
    ),
)


def seed_bits_needed(n: int, m: int) -> int:
    """Length of the seed that hashes n bits to m bits."""
    return n + m - 1


def toeplitz_hash(key_bits: BitArray, seed_packed: bytes, m: int) -> BitArray:
    """Hash uint8[n] to uint8[m]; the seed is n + m - 1 bits, packed (postproc.bits).

    1 <= n <= 2^27, 0 <= m <= 2^27. Raises InputOutOfRange; ProtocolViolation when the seed has another length.
    """
    return unpack(toeplitz_hash_packed(pack(key_bits), key_bits.size, seed_packed, m), m)


def toeplitz_hash_packed(key_packed: bytes, n: int, seed_packed: bytes, m: int) -> bytes:
    """`toeplitz_hash` of n packed bits to m packed bits; InputOutOfRange also when the key has another length."""
    return hash_with(key_packed, n, seed_packed, m, available_lanes()[0])


def hash_with(key_packed: bytes, n: int, seed_packed: bytes, m: int, lanes: Lanes | None) -> bytes:
    """`toeplitz_hash_packed` by the given instruction set (postproc.gf2_field)."""
    if not 1 <= n <= MAX_BITS or not 0 <= m <= MAX_BITS:
        raise InputOutOfRange(f"hashing {n} bits to {m}: the key must have 1..2^27 bits, the result 0..2^27")
    require_packed(key_packed, n, "key", InputOutOfRange)
    require_packed(seed_packed, seed_bits_needed(n, m), "seed", ProtocolViolation)
    if m == 0:
        return b""
    log2_points = best_log2_points(n, m)
    block_words = 1 << log2_points - 1
    key_blocks, output_blocks = -(-n // (64 * block_words)), -(-m // (64 * block_words))
    key = to_words(key_packed, key_blocks * block_words)
    seed = to_words(seed_packed, -(-seed_bits_needed(n, m) // 64))
    shifted = _shifted(seed, 64 * key.size - n + 1, (key_blocks + output_blocks) * block_words)
    return _first_bits(to_bytes(convolve(key, shifted, log2_points, lanes)), m)


def require_packed(packed: bytes, bits: int, name: str, error: type[InputOutOfRange | ProtocolViolation]) -> None:
    """Raise `error` unless these are exactly `bits` packed bits, spare bits zero."""
    if len(packed) != (bits + 7) // 8:
        raise error(f"{name} of {len(packed)} bytes for {bits} bits, which take {(bits + 7) // 8} bytes")
    if bits % 8 and packed[-1] >> bits % 8:
        raise error(f"spare bits after the {bits} bits of the {name} are set; they must be zero")


def _first_bits(packed: bytes, bits: int) -> bytes:
    kept = bytearray(packed[: (bits + 7) // 8])
    if bits % 8:
        kept[-1] &= (1 << bits % 8) - 1
    return bytes(kept)


@njit(nogil=True, cache=True)
def _shifted(words, bits, size):  # type: ignore[no-untyped-def]
    """uint64[size]: the words times x^bits; what reaches beyond is dropped."""
    out = np.zeros(size, np.uint64)
    skip, left = bits // 64, uint64(bits % 64)
    for i in range(min(words.size, size - skip)):
        out[skip + i] ^= words[i] << left
        if left and skip + i + 1 < size:
            out[skip + i + 1] ^= words[i] >> (uint64(64) - left)
    return out


def self_test() -> None:
    """Recompute known answers with the product in use. Raises SelfTestFailed."""
    for n, m, expected in _KNOWN:
        found = pack(toeplitz_hash(*known_input(n, m), m)).hex()
        if found != expected:
            raise SelfTestFailed(f"Toeplitz hash of the known {n} bits to {m} bits is {found}, not {expected}")


def known_input(n: int, m: int) -> tuple[BitArray, bytes]:
    """Key and packed seed of the known answers: bits in turn from SplitMix64(1) and SplitMix64(2)."""
    key, seed = SplitMix64(1), SplitMix64(2)
    seed_bits = np.array([seed.below(2) for _ in range(seed_bits_needed(n, m))], np.uint8)
    return np.array([key.below(2) for _ in range(n)], np.uint8), pack(seed_bits)
