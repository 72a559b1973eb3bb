"""Quasi-cyclic LDPC codes: a base matrix whose entries are circulants, and its nested row splittings.

Bit (column c, offset) of a frame is bit c * Z + offset. An edge of base row r to column c with shift s says: parity z
of row r contains bit (c, (z + s) mod Z), for all z in 0..Z-1. Splitting row r discloses, in addition, the Z parities
over the first half of its edges; those over the second half follow, so a split row counts as two shorter checks for the
decoder, and what was disclosed before the split stays useful.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange
from postproc.integers import SplitMix64
from postproc.reconciliation.base_matrix import base_matrix
from postproc.records import BitArray

_SEED = 0x51C0DE


@dataclass(frozen=True, slots=True, eq=False)
class QcCode:
    """A code of `columns` * `circulant` bits without splits.

    start: int64 [rows + 1], edges of row r are start[r]..start[r+1]; column, shift: int32 [edges];
    split_order: int64 [rows], the rows in the order in which they are split.
    """

    columns: int
    circulant: int
    start: NDArray[np.int64]
    column: NDArray[np.int32]
    shift: NDArray[np.int32]
    split_order: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Rows of the base matrix; each is `circulant` parities."""
        return int(self.start.size) - 1

    def parity_rows(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Edge ranges (begin, end) of disclosed rows first..last-1: base rows, then first halves of split rows."""
        rows = np.arange(first, last)
        is_split = rows >= self.rows
        base = np.where(is_split, self.split_order[np.maximum(rows - self.rows, 0)], rows)
        begin, end = self.start[base], self.start[base + 1]
        return begin, np.where(is_split, self.half(begin, end), end)

    def layers(self, splits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Edge ranges (begin, end) of the checks as the decoder sees them: split rows are cut to their second half."""
        begin, end = self.parity_rows(0, self.rows + splits)
        split = self.split_order[:splits]
        begin[split] = self.half(begin[split], end[split])
        return begin, end

    @staticmethod
    def half(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """Edge at which a row is cut in two."""
        return begin + (end - begin) // 2


@lru_cache(maxsize=16)
def build_code(columns: int, rows: int, circulant: int) -> QcCode:
    """Construct the code; the same on every machine. Takes up to some tenths of a second, hence the cache."""
    matrix = base_matrix(columns, rows, seed=_SEED + rows)
    start = np.concatenate(([0], np.cumsum([len(row) for row in matrix])))
    column = np.array([c for row in matrix for c in row], dtype=np.int32)
    row = np.repeat(np.arange(len(matrix)), np.diff(start)).astype(np.int64)
    numbers = SplitMix64(_SEED ^ (circulant << 32))
    by_column = np.argsort(column, kind="stable")
    first_of_column = np.searchsorted(column[by_column], np.arange(columns + 1))
    preferred = np.array([numbers.below(circulant) for _ in range(column.size)], dtype=np.int64)
    shift = np.empty(column.size, dtype=np.int32)
    shift[by_column] = _choose_shifts(row[by_column], first_of_column, preferred, len(matrix), circulant)
    order = list(range(len(matrix)))
    numbers.shuffle(order)
    arrays = (start.astype(np.int64), column, shift, np.array(order, dtype=np.int64))
    for array in arrays:
        array.flags.writeable = False
    return QcCode(columns, circulant, *arrays)


def parities(code: QcCode, bits: BitArray, first: int, last: int) -> BitArray:
    """Parities of rows first..last-1 (see `QcCode.parity_rows`) of one frame, uint8 [last - first, circulant]."""
    n = code.columns * code.circulant
    if bits.shape != (n,) or bits.dtype != np.uint8:
        raise InputOutOfRange(f"a frame of this code is uint8[{n}], not {bits.dtype}{list(bits.shape)}")
    begin, end = code.parity_rows(first, last)
    out = np.zeros((last - first, code.circulant), dtype=np.uint8)
    _accumulate_parities(np.ascontiguousarray(bits).reshape(code.columns, -1), begin, end, code.column, code.shift, out)
    return out


@njit(nogil=True, cache=True)
def _choose_shifts(row, first_of_column, preferred, rows, circulant):  # type: ignore[no-untyped-def]
    """Shifts of the edges sorted by column, such that no 4-cycle arises where that is possible.

    Two columns that share rows a and b close a 4-cycle when their shift differences between a and b agree. `used`
    marks, per ordered pair of rows, the differences already taken. Starting at the preferred value, the first free
    shift is taken, or the one with the fewest conflicts.
    """
    words = (circulant + 63) // 64
    used = np.zeros((rows, rows, words), np.uint64)
    shift = np.zeros(row.size, np.int32)
    one = np.uint64(1)
    for c in range(first_of_column.size - 1):
        lo, hi = first_of_column[c], first_of_column[c + 1]
        for e in range(lo, hi):
            fewest = np.int64(hi - lo)
            for t in range(circulant):
                candidate = (preferred[e] + t) % circulant
                conflicts = np.int64(0)
                for i in range(lo, e):
                    d = (shift[i] - candidate) % circulant
                    conflicts += np.int64((used[row[i], row[e], d >> 6] >> np.uint64(d & 63)) & one)
                if conflicts < fewest:
                    fewest = conflicts
                    shift[e] = candidate
                    if conflicts == 0:
                        break
        for e in range(lo, hi):
            for i in range(lo, hi):
                if i != e:
                    d = (shift[i] - shift[e]) % circulant
                    used[row[i], row[e], d >> 6] |= one << np.uint64(d & 63)
    return shift


@njit(nogil=True, cache=True)
def _accumulate_parities(bits, begin, end, column, shift, out):  # type: ignore[no-untyped-def]
    """out[r, z] = XOR over edges e of row r of bits[column[e], (z + shift[e]) mod Z]."""
    circulant = bits.shape[1]
    for r in range(begin.size):
        for e in range(begin[r], end[r]):
            s = shift[e]
            _xor(out[r, : circulant - s], bits[column[e], s:])
            _xor(out[r, circulant - s :], bits[column[e], :s])


@njit(nogil=True, cache=True)
def _xor(target, source):  # type: ignore[no-untyped-def]
    for z in range(target.size):
        target[z] ^= source[z]
