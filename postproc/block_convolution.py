"""Products of long polynomials over GF(2) in blocks, the transforms of the blocks multiplied and added point by point.

The key is cut into N blocks k_b of B bits, the seed into N + M blocks c_b. With X = x^B the wanted blocks N..N+M-1 of
(sum over b of k_b X^b)(sum over b of c_b X^b) are the low halves of D_N..D_(N+M-1) plus the high halves of
D_(N-1)..D_(N+M-2), D_t = sum over b of k_b c_(t-b), polynomials of fewer than 2 B bits each. A block is a polynomial
over GF(2^128) with B / 64 coefficients of 64 bits (x^64 is replaced by a new variable: Kronecker substitution; products
have coefficients of fewer than 128 bits, which the field holds exactly), so that D_t has fewer than 2 B / 64
coefficients: that many evaluation points (postproc.additive_fft) determine it. Each block is transformed once.

Against one transform of everything this keeps transforms inside the cache, wastes little on padding whatever the sizes,
and needs no reduction modulo a vanishing polynomial; its price is N (M + 1) products per point.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from postproc.additive_fft import from_novel_basis, inverse_transform, to_novel_basis, transform
from postproc.cantor_basis import conversion_stages, twiddle_factors
from postproc.gf2 import Words
from postproc.gf2_field import correlate, empty_rows
from postproc.gf2_vectors import ROW, Lanes

SMALLEST, LARGEST = 4, 16  # log2 of the number of evaluation points

# ns for a point of four blocks, measured with VPCLMULQDQ on 512 bits; other instruction sets have similar ratios.
# The constants choose the size of the blocks, and thereby the speed; no result depends on them.
_FORWARD, _FORWARD_LAYER = 6.0, 1.8
_INVERSE, _INVERSE_LAYER = 9.0, 2.5
_TERM = 2.2


def best_log2_points(key_bits: int, output_bits: int) -> int:
    """Log2 of the number of evaluation points that promises the least work for a key and an output of these lengths."""
    return min(range(SMALLEST, LARGEST + 1), key=lambda log2_points: _cost(log2_points, key_bits, output_bits))


def _cost(log2_points: int, key_bits: int, output_bits: int) -> float:
    block = 32 << log2_points
    n, m = -(-key_bits // block), -(-output_bits // block)
    forward = (-(-n // 4) + -(-(n + m) // 4)) * (_FORWARD + _FORWARD_LAYER * log2_points)
    sums = -(-(m + 1) // 4)
    return (forward + sums * (_INVERSE + _INVERSE_LAYER * log2_points + n * _TERM)) * (1 << log2_points)


def convolve(key: Words, seed: Words, log2_points: int, lanes: Lanes | None) -> Words:
    """uint64[64-bit words of M blocks]: blocks N..N+M-1 of the product of key (N blocks) and seed (N + M blocks).

    A block is 2^(log2_points - 1) words; N and M at least 1. lanes: postproc.gf2_field.available_lanes.
    """
    points = 1 << log2_points
    n = key.size // (points // 2)
    m = seed.size // (points // 2) - n
    batches = -(-(m + 1) // 4)
    columns = (-(-n // 4), -(-(n + 4 * batches - 1) // 4), batches)
    key_values, seed_values, sums = (empty_rows(ROW * points * count) for count in columns)
    narrow, rows = empty_rows(4 * points // 2), empty_rows(ROW * points)
    twiddles = twiddle_factors(points // 2)
    to_novel, from_novel = conversion_stages(log2_points - 1), conversion_stages(log2_points)
    _transform_blocks(key, key_values, n, True, points, to_novel, twiddles, narrow, rows, lanes)
    _transform_blocks(seed, seed_values, n + m, False, points, to_novel, twiddles, narrow, rows, lanes)
    _correlate_points(sums, key_values, seed_values, n, points, lanes)
    return _inverse_transform_sums(sums, m, points, from_novel, twiddles, rows, lanes)


@njit(nogil=True, cache=True)
def _transform_blocks(words, values, count, backwards, points, stages, twiddles, narrow, rows, lanes):  # type: ignore[no-untyped-def]
    """values[point, column]: block `column` (count - 1 - column if backwards) of the words at every point; 0 beyond."""
    half = points // 2
    stride = values.size // points
    for first in range(0, stride // 2, 4):
        for lane in range(4):
            block = count - 1 - first - lane if backwards else first + lane
            if 0 <= block < count:
                for i in range(half):
                    narrow[4 * i + lane] = words[block * half + i]
            else:
                for i in range(half):
                    narrow[4 * i + lane] = 0
        to_novel_basis(narrow, 4, stages)
        for i in range(half):  # the upper half of the coefficients is 0, and the first layer copies the lower one
            for lane in range(4):
                at = ROW * i + 2 * lane
                rows[at] = rows[at + ROW * half] = narrow[4 * i + lane]
                rows[at + 1] = rows[at + 1 + ROW * half] = 0
        for coset in range(2):
            transform(rows, half * coset, half, coset, twiddles, lanes)
        for p in range(points):
            for word in range(ROW):
                values[p * stride + 2 * first + word] = rows[ROW * p + word]


@njit(nogil=True, cache=True)
def _correlate_points(sums, key_values, seed_values, n, points, lanes):  # type: ignore[no-untyped-def]
    """sums[point, t] = sum over r < n of key_values[point, r] seed_values[point, t + r]."""
    key_stride = key_values.size // points // 2
    seed_stride = seed_values.size // points // 2
    batches = sums.size // points // ROW
    for p in range(points):
        for batch in range(batches):
            correlate(
                sums,
                p * batches + batch,
                key_values,
                p * key_stride,
                seed_values,
                p * seed_stride + 4 * batch,
                n,
                lanes,
            )


@njit(nogil=True, cache=True)
def _inverse_transform_sums(sums, m, points, stages, twiddles, rows, lanes):  # type: ignore[no-untyped-def]
    """The m blocks of words of the polynomials D_(N-1)..D_(N+M-1) whose values are the columns of `sums`."""
    half = points // 2
    stride = sums.size // points
    out = np.zeros(m * half, np.uint64)
    for first in range(0, stride // 2, 4):
        for p in range(points):
            for word in range(ROW):
                rows[ROW * p + word] = sums[p * stride + 2 * first + word]
        inverse_transform(rows, 0, points, 0, twiddles, lanes)
        from_novel_basis(rows, ROW, stages)
        for lane in range(4):
            t = first + lane  # D_(N-1+t) begins one block before block t
            carried = uint64(0)
            begin, end = (half if t == 0 else 0), (half if t == m else points)
            if t > m:
                break
            if begin:
                carried = rows[ROW * (begin - 1) + 2 * lane + 1]
            for i in range(begin, end):
                at = ROW * i + 2 * lane
                out[(t - 1) * half + i] ^= rows[at] ^ carried
                carried = rows[at + 1]
    return out
