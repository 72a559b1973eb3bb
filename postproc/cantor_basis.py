"""The constants of the additive Fourier transform over GF(2^128): Cantor's basis, twiddle factors, basis conversion.

Cantor's basis (Cantor 1989, J. Comb. Theory A 50, 285; Gao and Mateer 2010) is v_0 = 1, v_i^2 + v_i = v_(i-1). Let
phi(x) = x^2 + x. The polynomial s_i that vanishes on the span of v_0..v_(i-1) is then phi applied i times, so that
s_i(v_j) = v_(j-i), s_(i+j)(x) = s_j(s_i(x)), and s_i(x) = x^(2^i) + x when i is a power of two.
Every v_127 of trace 1 gives such a basis: phi applied 127 times is the trace.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from postproc.gf2 import Words

DEGREE = 128
_MODULUS = (1 << 128) | 0x87


@lru_cache
def cantor_basis() -> tuple[int, ...]:
    """v_0..v_127; bit i of an integer is the coefficient of x^i."""
    for exponent in reversed(range(DEGREE)):
        chain = [1 << exponent]
        while len(chain) < DEGREE:
            chain.append(_square(chain[-1]) ^ chain[-1])
        if chain[-1] == 1:
            return tuple(reversed(chain))
    raise ArithmeticError("no power of x has trace 1; the trace would vanish on the whole field")


def _square(a: int) -> int:
    """a^2 in GF(2^128): a binary numeral read in base 4 has zeros between its digits."""
    squared = int(format(a, "b"), 4)
    while squared.bit_length() > DEGREE:
        squared ^= _MODULUS << (squared.bit_length() - DEGREE - 1)
    return squared


@lru_cache(maxsize=2)
def twiddle_factors(count: int) -> Words:
    """uint64[2 count], read-only, count a power of two: element b is the sum of v_(j+1) over the set bits j of b.

    It is s_i at the first point of block b of size 2^(i+1), whatever i: the point is the sum of v_(i+1+j).
    """
    table = np.zeros((count, 2), np.uint64)
    for j in range(count.bit_length() - 1):
        v = cantor_basis()[j + 1]
        table[1 << j : 2 << j] = table[: 1 << j] ^ np.array([v & (1 << 64) - 1, v >> 64], np.uint64)
    table.flags.writeable = False
    return table.reshape(-1)


@lru_cache
def conversion_stages(log2_size: int) -> NDArray[np.int64]:
    """int64[k, 2], read-only: the steps (half, shift) that turn 2^log2_size coefficients into the novel basis.

    The novel polynomial basis (Lin, Chung, Han 2014, FOCS; Lin, Al-Naffouri, Han, Chung 2016, IEEE Trans. Inf. Theory
    62, 6284) has X_i = product of s_j(x) over the set bits j of i. With k the largest power of two below log2_size, a
    polynomial is written in powers of y = x^(2^k) + x, by halves: division by y^(2^j) = x^(2^(k+j)) + x^(2^j) is one
    step (half 2^(k+j), shift 2^j) on each block of twice `half`. Then powers of y are converted among themselves, with
    2^k coefficients as the unit, and powers of x within each unit (Bernstein and Chou 2014; Chen et al. 2017,
    arXiv:1708.09746, section 3).
    """
    stages = np.array(_stages(log2_size, 1), np.int64).reshape(-1, 2)
    stages.flags.writeable = False
    return stages


def _stages(log2_size: int, unit: int) -> list[tuple[int, int]]:
    if log2_size < 2:
        return []
    k = 1
    while 2 * k < log2_size:
        k *= 2
    division = [(unit << k + j, unit << j) for j in reversed(range(log2_size - k))]
    return division + _stages(log2_size - k, unit << k) + _stages(k, unit)
