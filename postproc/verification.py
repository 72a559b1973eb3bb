"""Verification: a polynomial hash over GF(2^128) tells whether two reconciled keys are equal.

The key is cut into 128-bit blocks m_1..m_l (the last zero-padded), followed by its length in bits as block m_(l+1); the
hash for the seed h is
    m_1 h^(l+1) + m_2 h^l + ... + m_(l+1) h
in GF(2)[x] / (x^128 + x^7 + x^2 + x + 1), with bit i of the packed key's block as the coefficient of x^i. This is GHASH
(NIST SP 800-38D) with the bits of every byte in reverse order and another length block. Two different keys of at most n
bits agree for at most l + 1 of the 2^128 seeds (a polynomial's roots; Wegman and Carter 1981, den Boer 1993), so the
seed must be uniform and become known only after both keys are fixed. The value discloses 128 bits about the key.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from postproc.errors import InputOutOfRange, SelfTestFailed
from postproc.gf2 import best_product, to_bytes, to_words
from postproc.gf2_field import field_product

SEED_BYTES = 16
HASH_BITS = 128

_KNOWN_SEED = bytes(range(1, 17))
_KNOWN: tuple[tuple[int, str], ...] = (  # length of `known_key` in bits, hash
    (1, "0102030405060708090a0b0c0d0e0f10"),
    (127, "7de484cc2fb59538a5a55a7865b0c130"),
    (128, "2f1d84312fb46ac2a5a4a57a9a4ec1c5"),
    (129, "52de821e1c7198f593738367bd7eafbf"),
    (1000, "b93911441223e98c80e769d2e305915e"),
)


def polynomial_hash(key_packed: bytes, n_bits: int, seed: bytes) -> bytes:
    """Hash of a packed key (postproc.bits) of n_bits bits, 16 bytes, for a seed of 16 bytes.

    Raises InputOutOfRange when the lengths do not agree or spare bits are set.
    """
    return hash_with(key_packed, n_bits, seed, best_product())


def hash_with(key_packed: bytes, n_bits: int, seed: bytes, hardware: int | None) -> bytes:
    """`polynomial_hash` by the given carry-less product (postproc.gf2)."""
    if len(seed) != SEED_BYTES:
        raise InputOutOfRange(f"verification seed of {len(seed)} bytes; it takes {SEED_BYTES}")
    if not 0 <= n_bits < 1 << 62 or len(key_packed) != (n_bits + 7) // 8:
        raise InputOutOfRange(f"key of {len(key_packed)} bytes does not hold exactly {n_bits} bits")
    if n_bits % 8 and key_packed[-1] >> n_bits % 8:
        raise InputOutOfRange(f"spare bits after the {n_bits} key bits are set; they must be zero")
    blocks = -(-n_bits // 128)
    words = to_words(key_packed, 2 * blocks + 2)
    words[2 * blocks] = n_bits
    return to_bytes(_horner(words, to_words(seed, 2), hardware))


def collision_probability(n_bits: int) -> float:
    """Upper bound on the probability, over the seed, that two given different keys of at most n_bits bits agree."""
    return (-(-n_bits // 128) + 1) * 2.0**-128


def self_test() -> None:
    """Recompute known answers with the product in use. Raises SelfTestFailed."""
    for n_bits, expected in _KNOWN:
        found = polynomial_hash(known_key(n_bits), n_bits, _KNOWN_SEED).hex()
        if found != expected:
            raise SelfTestFailed(f"verification hash of the known key of {n_bits} bits is {found}, not {expected}")


def known_key(n_bits: int) -> bytes:
    """The key of the known answers: bytes 0, 3, 6, ... modulo 256, spare bits cleared."""
    whole = bytearray(3 * i % 256 for i in range((n_bits + 7) // 8))
    if n_bits % 8:
        whole[-1] &= (1 << n_bits % 8) - 1
    return bytes(whole)


@njit(nogil=True, cache=True)
def _horner(words, seed, hardware):  # type: ignore[no-untyped-def]
    """uint64[2]: state = (state + block) * seed over the blocks of two words each."""
    low, high = uint64(0), uint64(0)
    s0, s1 = seed[0], seed[1]
    for i in range(0, words.size, 2):
        low, high = field_product(low ^ words[i], high ^ words[i + 1], s0, s1, hardware)
    out = np.empty(2, np.uint64)
    out[0], out[1] = low, high
    return out
