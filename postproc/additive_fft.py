"""The additive Fourier transform over GF(2^128) of four polynomials side by side, and its inverse.

A polynomial of 2^k coefficients in the novel basis (postproc.cantor_basis) is evaluated at the 2^k points of the span
of v_0..v_(k-1) by k layers of butterflies: for a block of 2^(i+1) coefficients and the first point w of its coset,
g = g_0 + s_i(x) g_1 has on the two halves of the coset the values of g_0 + s_i(w) g_1 and of g_0 + (s_i(w) + 1) g_1, as
s_i(v_i) = 1 (Lin, Chung, Han 2014, section III; Chen et al. 2017, arXiv:1708.09746, algorithm 2). Transforms go depth
first, so that blocks that fit the cache are finished there. Data is in rows of four elements (postproc.gf2_field).
"""

from __future__ import annotations

from numba import njit

from postproc.gf2_field import butterfly, inverse_butterfly

LEAF = 256  # rows that stay in the first-level cache: 16 KiB


@njit(nogil=True, cache=True)
def transform(rows, first, size, coset, twiddles, lanes):  # type: ignore[no-untyped-def]
    """Evaluate rows first..first+size-1 on coset number `coset` of the span of v_0..v_(log2(size)-1), in place."""
    leaf = min(size, LEAF)
    for begin in range(0, size, leaf):
        block = size  # of the layers above the leaves, those whose block begins here
        while block > leaf:
            if begin % block == 0:
                _layer(rows, first + begin, block // 2, (coset * size + begin) // block, twiddles, lanes)
            block //= 2
        while block > 1:
            for inner in range(begin, begin + leaf, block):
                _layer(rows, first + inner, block // 2, (coset * size + inner) // block, twiddles, lanes)
            block //= 2


@njit(nogil=True, cache=True)
def inverse_transform(rows, first, size, coset, twiddles, lanes):  # type: ignore[no-untyped-def]
    """The inverse of `transform`, in place."""
    leaf = min(size, LEAF)
    for begin in range(0, size, leaf):
        block = 2
        while block <= leaf:
            for inner in range(begin, begin + leaf, block):
                _inverse_layer(rows, first + inner, block // 2, (coset * size + inner) // block, twiddles, lanes)
            block *= 2
        while block <= size:  # of the layers above the leaves, those whose block ends here
            if (begin + leaf) % block == 0:
                start = begin + leaf - block
                _inverse_layer(rows, first + start, block // 2, (coset * size + start) // block, twiddles, lanes)
            block *= 2


@njit(nogil=True, cache=True)
def _layer(rows, first, half, block, twiddles, lanes):  # type: ignore[no-untyped-def]
    for i in range(first, first + half):
        butterfly(rows, i, i + half, twiddles, block, lanes)


@njit(nogil=True, cache=True)
def _inverse_layer(rows, first, half, block, twiddles, lanes):  # type: ignore[no-untyped-def]
    for i in range(first, first + half):
        inverse_butterfly(rows, i, i + half, twiddles, block, lanes)


@njit(nogil=True, cache=True)
def to_novel_basis(values, width, stages):  # type: ignore[no-untyped-def]
    """Convert coefficients of powers of x, `width` words each, in place (postproc.cantor_basis.conversion_stages)."""
    for stage in range(stages.shape[0]):
        half, shift = stages[stage, 0] * width, stages[stage, 1] * width
        for begin in range(0, values.size, 2 * half):
            middle, end = begin + half, begin + 2 * half
            _xor_into(values[middle : middle + shift], values[end - shift : end])
            _xor_into(values[begin + shift : middle], values[middle : end - shift])


@njit(nogil=True, cache=True)
def from_novel_basis(values, width, stages):  # type: ignore[no-untyped-def]
    """The inverse of `to_novel_basis`."""
    for stage in range(stages.shape[0] - 1, -1, -1):
        half, shift = stages[stage, 0] * width, stages[stage, 1] * width
        for begin in range(0, values.size, 2 * half):
            middle, end = begin + half, begin + 2 * half
            _xor_into(values[begin + shift : middle], values[middle : end - shift])
            _xor_into(values[middle : middle + shift], values[end - shift : end])


@njit(nogil=True, cache=True)
def _xor_into(target, source):  # type: ignore[no-untyped-def]
    for i in range(target.size):
        target[i] ^= source[i]
