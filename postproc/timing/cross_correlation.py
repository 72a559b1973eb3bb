"""Histogram of time differences between two streams of tags, g2 without its normalisation.

Every click of A is compared with every click of B in its window; a pointer to the window's first click moves along,
so the work is the clicks plus the pairs counted.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange

MAX_BINS = 1 << 26
MAX_SPAN_PS = 1 << 50


class CrossCorrelation:
    """counts[k], int64: pairs with start_ps + k * bin_ps <= b - a < start_ps + (k + 1) * bin_ps. Streams are fed batch
    by batch; kept are the clicks of A whose window is not complete, and those of B that it may need."""

    def __init__(self, start_ps: int, bin_ps: int, bins: int) -> None:
        """All integers of ps; bin_ps >= 1, 1 <= bins <= 2^26. Raises InputOutOfRange."""
        if bin_ps < 1 or not 1 <= bins <= MAX_BINS or abs(start_ps) + bin_ps * bins > MAX_SPAN_PS:
            raise InputOutOfRange(
                f"{bins} bins of {bin_ps} ps from {start_ps} ps: 1..{MAX_BINS} bins, >= 1 ps, within {MAX_SPAN_PS} ps"
            )
        self.start_ps, self.bin_ps = start_ps, bin_ps
        self.counts = np.zeros(bins, np.int64)
        self._a, self._b = np.empty(0, np.int64), np.empty(0, np.int64)

    @property
    def waiting(self) -> tuple[int, int]:
        """Clicks kept of A and of B."""
        return self._a.size, self._b.size

    def feed(self, a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], complete_until_ps: int) -> None:
        """Add clicks, int64 ascending, each batch later than the one before; all clicks of A and
        of B before `complete_until_ps` (each in its own time) have been fed with this batch."""
        a = np.concatenate([self._a, a_ps]) if self._a.size else a_ps
        b = np.concatenate([self._b, b_ps]) if self._b.size else b_ps
        end_ps = self.start_ps + self.bin_ps * self.counts.size
        ready = int(np.searchsorted(a, complete_until_ps - end_ps, side="right"))
        _count(a[:ready], b, self.start_ps, end_ps, self.bin_ps, self.counts)
        self._a = a[ready:].copy()
        oldest = min(int(self._a[0]), complete_until_ps) if self._a.size else complete_until_ps
        self._b = b[int(np.searchsorted(b, oldest + self.start_ps)) :].copy()


def cross_correlation(
    a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], *, start_ps: int, bin_ps: int, bins: int
) -> NDArray[np.int64]:
    """Counts (int64 [bins]) of b - a of two whole streams, int64 ascending. Raises InputOutOfRange as above."""
    histogram = CrossCorrelation(start_ps, bin_ps, bins)
    end_ps = start_ps + bin_ps * bins
    _count(a_ps, b_ps, start_ps, end_ps, bin_ps, histogram.counts)
    return histogram.counts


@njit(nogil=True, cache=True)
def _count(a, b, start, end, bin_ps, counts):  # type: ignore[no-untyped-def]
    """(d + 1/2) / bin is never within rounding of an integer, so its floor is that of the exact d / bin."""
    per_bin = 1.0 / bin_ps
    first = np.int64(0)
    for i in range(a.size):
        low, high = a[i] + start, a[i] + end
        while first < b.size and b[first] < low:
            first += 1
        j = first
        while j < b.size and b[j] < high:
            counts[np.int64((np.float64(b[j] - low) + 0.5) * per_bin)] += 1
            j += 1
