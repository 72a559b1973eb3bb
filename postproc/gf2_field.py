"""GF(2^128) = GF(2)[x] / (x^128 + x^7 + x^2 + x + 1), four elements at a time, for use in compiled kernels.

An element is two words of 64 bits, low word first; kernels hold *rows* of four elements (eight words), one element for
each of four independent polynomials, so that every instruction works on all four with the same constant. Kernels take
the instruction set as their last argument, by type: a tuple with one entry for each 128-bit lane that one instruction
multiplies (4: VPCLMULQDQ on 512 bits, 2: on 256 bits, 1: PCLMULQDQ; postproc.gf2_vectors), or None (portable integer
arithmetic). The layout of the data does not depend on it, and neither does any result. Times depend on sizes only.
Outside compiled kernels (NUMBA_DISABLE_JIT) everything is portable, whatever `lanes` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types, uint64
from numba.extending import overload

from postproc.gf2 import Words, carryless_product
from postproc.gf2_vectors import FOLD, ROW, butterfly_vectors, correlate_vectors, inverse_butterfly_vectors


def empty_rows(words: int) -> Words:
    """uint64[words], not initialised, that begins on a cache line, as rows of eight words should."""
    raw = np.empty(words + 7, np.uint64)
    skip = -raw.ctypes.data // 8 % 8
    return raw[skip : skip + words]


@njit(nogil=True, cache=True)
def field_product(a0, a1, b0, b1, hardware):  # type: ignore[no-untyped-def]
    """(a0 + a1 x^64)(b0 + b1 x^64) as two words, by the given carry-less product (postproc.gf2)."""
    p0, carry = carryless_product(a0, b0, hardware)
    back, p3 = carryless_product(a1, b1, hardware)
    middle0, middle1 = carryless_product(a0 ^ a1, b0 ^ b1, hardware)
    p1 = carry ^ middle0 ^ p0 ^ back
    p2 = back ^ middle1 ^ carry ^ p3
    fold1, fold2 = carryless_product(p3, uint64(FOLD), hardware)
    fold0, fold1_high = carryless_product(p2 ^ fold2, uint64(FOLD), hardware)
    return p0 ^ fold0, p1 ^ fold1 ^ fold1_high


@njit(nogil=True, cache=True)
def _portable_butterfly(rows, upper, lower, constants, at):  # type: ignore[no-untyped-def]
    c0, c1 = constants[2 * at], constants[2 * at + 1]
    for word in range(0, ROW, 2):
        u, v = ROW * upper + word, ROW * lower + word
        p0, p1 = field_product(rows[v], rows[v + 1], c0, c1, None)
        rows[u] ^= p0
        rows[u + 1] ^= p1
        rows[v] ^= rows[u]
        rows[v + 1] ^= rows[u + 1]


@njit(nogil=True, cache=True)
def _portable_inverse_butterfly(rows, upper, lower, constants, at):  # type: ignore[no-untyped-def]
    c0, c1 = constants[2 * at], constants[2 * at + 1]
    for word in range(0, ROW, 2):
        u, v = ROW * upper + word, ROW * lower + word
        rows[v] ^= rows[u]
        rows[v + 1] ^= rows[u + 1]
        p0, p1 = field_product(rows[v], rows[v + 1], c0, c1, None)
        rows[u] ^= p0
        rows[u + 1] ^= p1


@njit(nogil=True, cache=True)
def _portable_correlate(out, row, key, k, seed, s, count):  # type: ignore[no-untyped-def]
    for element in range(4):
        low, high = uint64(0), uint64(0)
        for r in range(count):
            at = 2 * (s + r + element)
            p0, p1 = field_product(key[2 * (k + r)], key[2 * (k + r) + 1], seed[at], seed[at + 1], None)
            low ^= p0
            high ^= p1
        out[ROW * row + 2 * element] = low
        out[ROW * row + 2 * element + 1] = high


def butterfly(rows: Any, upper: Any, lower: Any, constants: Any, at: Any, lanes: Any) -> None:
    """Rows u, v become u + c v, u + (c + 1) v with c = constants[at], one field element; rows and `at` are indices."""
    _portable_butterfly(rows, upper, lower, constants, at)


def inverse_butterfly(rows: Any, upper: Any, lower: Any, constants: Any, at: Any, lanes: Any) -> None:
    """The inverse of `butterfly`."""
    _portable_inverse_butterfly(rows, upper, lower, constants, at)


def correlate(out: Any, row: Any, key: Any, k: Any, seed: Any, s: Any, count: Any, lanes: Any) -> None:
    """Row `row` of `out` = sum over r < count of key[k + r] (seed[s + r]..seed[s + r + 3]); indices of elements."""
    _portable_correlate(out, row, key, k, seed, s, count)


@overload(butterfly)
def _choose_butterfly(rows, upper, lower, constants, at, lanes):  # type: ignore[no-untyped-def]
    if isinstance(lanes, types.NoneType):
        return lambda rows, upper, lower, constants, at, lanes: _portable_butterfly(rows, upper, lower, constants, at)
    return lambda rows, upper, lower, constants, at, lanes: butterfly_vectors(  # type: ignore[call-arg]
        rows, upper, lower, constants, at, lanes
    )


@overload(inverse_butterfly)
def _choose_inverse_butterfly(rows, upper, lower, constants, at, lanes):  # type: ignore[no-untyped-def]
    if isinstance(lanes, types.NoneType):
        return lambda rows, upper, lower, constants, at, lanes: _portable_inverse_butterfly(
            rows, upper, lower, constants, at
        )
    return lambda rows, upper, lower, constants, at, lanes: inverse_butterfly_vectors(  # type: ignore[call-arg]
        rows, upper, lower, constants, at, lanes
    )


@overload(correlate)
def _choose_correlate(out, row, key, k, seed, s, count, lanes):  # type: ignore[no-untyped-def]
    if isinstance(lanes, types.NoneType):
        return lambda out, row, key, k, seed, s, count, lanes: _portable_correlate(out, row, key, k, seed, s, count)
    return lambda out, row, key, k, seed, s, count, lanes: correlate_vectors(  # type: ignore[call-arg]
        out, row, key, k, seed, s, count, lanes
    )
