"""An independent check of long Toeplitz hashes in linear time: both sides modulo a polynomial of degree 64.

Let F(y) be the sum of y_i x^i modulo f = x^64 + modulus. By the definition y_i = sum over j of s_(i-j+n-1) k_j,
    F(y) = sum over j of k_j W_j,   W_j = sum over i < m of s_(i-j+n-1) x^i,
and the windows follow from one another: W_(j+1) = x W_j + s_(n-2-j) + s_(n-1-j+m-1) x^m. No product of long polynomials
is involved. A wrong y has the right fingerprint only if f divides the error (Rabin, "Fingerprinting by random
polynomials", 1981): for a random f of which the error knows nothing, less than one chance in 2^30 at 10^8 bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64


def fingerprint(packed: bytes, bits: int, modulus: int) -> int:
    """F of the packed bits."""
    return int(_fingerprint(np.frombuffer(packed, np.uint8), 0, bits, np.uint64(modulus)))


def fingerprint_of_hash(key_packed: bytes, n: int, seed_packed: bytes, m: int, modulus: int) -> int:
    """F of the Toeplitz hash of n bits to m bits, from its definition (postproc.amplification)."""
    key, seed = (np.frombuffer(packed, np.uint8) for packed in (key_packed, seed_packed))
    return int(_fingerprint_of_hash(key, n, seed, m, np.uint64(modulus)))


@njit(nogil=True, cache=True)
def _bit(packed, i):  # type: ignore[no-untyped-def]
    return uint64(packed[i >> 3] >> (i & 7)) & uint64(1)


@njit(nogil=True, cache=True)
def _times_x(a, modulus):  # type: ignore[no-untyped-def]
    return (a << uint64(1)) ^ (modulus * (a >> uint64(63)))


@njit(nogil=True, cache=True)
def _fingerprint(packed, first, bits, modulus):  # type: ignore[no-untyped-def]
    value = uint64(0)
    for i in range(first + bits - 1, first - 1, -1):
        value = _times_x(value, modulus) ^ _bit(packed, i)
    return value


@njit(nogil=True, cache=True)
def _fingerprint_of_hash(key, n, seed, m, modulus):  # type: ignore[no-untyped-def]
    beyond = uint64(1)  # x^m
    for _ in range(m):
        beyond = _times_x(beyond, modulus)
    window = _fingerprint(seed, n - 1, m, modulus)
    total = uint64(0)
    for j in range(n):
        total ^= window * _bit(key, j)
        if j < n - 1:
            window = _times_x(window, modulus) ^ _bit(seed, n - 2 - j) ^ (beyond * _bit(seed, n - 1 - j + m - 1))
    return total
