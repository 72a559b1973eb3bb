"""Privacy amplification by Toeplitz hashing, exact: no floating point anywhere.

With key bits k_0..k_(n-1) and seed bits s_0..s_(n+m-2) the secret key is
    y_i = XOR over j of T_ij k_j,   T_ij = s_(i - j + n - 1),   i = 0..m-1,
so the first row of T is s_(n-1)..s_0 and its first column s_(n-1)..s_(n+m-2). For a uniform seed this family is
(XOR-)universal_2: Krawczyk, CRYPTO '94; Carter and Wegman 1979. The seed may be public, and must be fresh and
independent of the key.

As polynomials over GF(2), y_i is the coefficient of x^(i + n - 1) in S(x) K(x): a slice of a product. The key is cut
into blocks k_b of B bits, B >= m, the seed (shifted to the padded key length) into blocks c_b; then the slice is that
of the bits B-1..B+m-2 of the sum over b of k_b (c_(N-1-b) + x^B c_(N-b)): 2 n / m Karatsuba products of m bits, instead
of one of n + m.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from postproc.bits import pack, unpack
from postproc.errors import InputOutOfRange, SelfTestFailed
from postproc.gf2 import best_product, karatsuba_words, multiply_into, scratch_words, to_bytes, to_words
from postproc.integers import SplitMix64
from postproc.records import BitArray

MAX_BITS = 1 << 25
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

    1 <= n <= 2^25, 0 <= m <= 2^25. Raises InputOutOfRange; ProtocolViolation when the seed has another length.
    """
    return hash_with(key_bits, seed_packed, m, best_product())


def hash_with(key_bits: BitArray, seed_packed: bytes, m: int, hardware: int | None) -> BitArray:
    """`toeplitz_hash` by the given carry-less product (postproc.gf2)."""
    n = key_bits.size
    if not 1 <= n <= MAX_BITS or not 0 <= m <= MAX_BITS:
        raise InputOutOfRange(f"hashing {n} bits to {m}: the key must have 1..2^25 bits, the result 0..2^25")
    seed_bits = unpack(seed_packed, seed_bits_needed(n, m))
    if m == 0:
        return np.zeros(0, np.uint8)
    block = karatsuba_words(-(-m // 64))
    blocks = -(-n // (64 * block))
    key = to_words(pack(key_bits), blocks * block)
    padding = np.zeros(64 * blocks * block - n, np.uint8)
    seed = to_words(pack(np.concatenate((padding, seed_bits))), (blocks + 1) * block)
    total = _sum_of_products(key, seed, block, np.empty(scratch_words(block), np.uint64), hardware)
    return np.unpackbits(np.frombuffer(to_bytes(total), np.uint8), bitorder="little")[64 * block - 1 :][:m]


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


@njit(nogil=True, cache=True)
def _sum_of_products(key, seed, block, scratch, hardware):  # type: ignore[no-untyped-def]
    """uint64[3 block]: the sum over b of key_b (seed_(N-1-b) + x^B seed_(N-b)), blocks of `block` words."""
    total = np.zeros(3 * block, np.uint64)
    product = np.empty(2 * block, np.uint64)
    blocks = key.size // block
    for b in range(blocks):
        for half in range(2):
            at = (blocks - 1 - b + half) * block
            multiply_into(product, key[b * block : (b + 1) * block], seed[at : at + block], scratch, hardware)
            for i in range(2 * block):
                total[half * block + i] ^= product[i]
    return total
