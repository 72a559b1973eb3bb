"""Pairs of clicks from two stations, in order of time: coincidences of an entangled-pair source.

Two pointers walk the two streams. When the clicks they stand on are less than half a window apart, they are a pair and
both pointers move on; otherwise the earlier click can have no partner any more and is passed. So each click is in one
pair at most, and the first partner in time is taken. No branch depends on the tags: pointers move by comparisons
turned into numbers.

Streams of any length pass through in bounded memory: `CoincidenceStream` keeps of each side only what the other side
has not reached yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange

MAX_WAITING = 1 << 24  # clicks of one side kept while the other side is silent


@dataclass(frozen=True, slots=True)
class ClockRelation:
    """How station B's clock relates to A's: an event at A's time t has B's time t + offset_ps + relative_frequency *
    (t - origin_ps). offset_ps includes the difference of flight times; origin_ps is a time on A's clock."""

    offset_ps: float
    relative_frequency: float = 0.0
    origin_ps: int = 0

    def to_a(self, time_ps: NDArray[np.int64]) -> NDArray[np.int64]:
        """B's times (int64 [n], ps) on A's clock, rounded to ps."""
        whole = int(np.floor(self.offset_ps))
        since = time_ps - (self.origin_ps + whole)
        correction = (since - (self.offset_ps - whole)) * (self.relative_frequency / (1 + self.relative_frequency))
        return time_ps - whole - np.rint(correction + (self.offset_ps - whole)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Pairs:
    """a, b: int64 [n], ascending indices of partners; passed_a, passed_b: so many clicks of each stream are decided."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    passed_a: int
    passed_b: int


def find_pairs(a_ps: NDArray[np.int64], b_ps: NDArray[np.int64], window_ps: int) -> Pairs:
    """Partners with |b - a| <= window_ps / 2. a_ps, b_ps: int64 [n], [m], ascending, on one clock.

    Ends where either stream ends: what is left of the other one waits for more. Raises InputOutOfRange for window < 0.
    """
    if window_ps < 0:
        raise InputOutOfRange(f"coincidence window {window_ps} ps must not be negative")
    most = min(a_ps.size, b_ps.size)
    first, second = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    count, i, j = _walk(a_ps, b_ps, window_ps // 2, first, second)
    return Pairs(first[:count], second[:count], int(i), int(j))


@njit(nogil=True, cache=True)
def _walk(a, b, half, first, second):  # type: ignore[no-untyped-def]
    count = i = j = np.uint64(0)
    end_i, end_j = np.uint64(a.size), np.uint64(b.size)
    while i < end_i and j < end_j:
        apart = b[j] - a[i]
        first[count], second[count] = i, j
        is_pair = (apart <= half) & (apart >= -half)
        count += np.uint64(is_pair)
        i += np.uint64(apart >= -half)
        j += np.uint64(apart <= half)
    return np.int64(count), np.int64(i), np.int64(j)


class CoincidenceStream:
    """Feeds two streams batch by batch; gives the channels of each pair. All state is what waits of either side."""

    def __init__(self, window_ps: int) -> None:
        """window_ps: full width, >= 0. Raises InputOutOfRange."""
        if window_ps < 0:
            raise InputOutOfRange(f"coincidence window {window_ps} ps must not be negative")
        self._window_ps = window_ps
        self._a = self._b = (np.empty(0, np.int64), np.empty(0, np.uint8))

    @property
    def waiting(self) -> tuple[int, int]:
        """Clicks kept of A and of B."""
        return self._a[0].size, self._b[0].size

    def feed(
        self,
        a_ps: NDArray[np.int64],
        a_channel: NDArray[np.uint8],
        b_ps: NDArray[np.int64],
        b_channel: NDArray[np.uint8],
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
        """(A's time, A's channel, B's channel) of each pair found: int64 [k], uint8 [k], uint8 [k].

        Times int64 ascending, both on A's clock and each batch later than the one before. Raises InputOutOfRange when
        more than 2^24 clicks of a side wait for the other: a stream has stopped, or the clocks are unrelated.
        """
        a = _after(self._a, a_ps, a_channel)
        b = _after(self._b, b_ps, b_channel)
        found = find_pairs(a[0], b[0], self._window_ps)
        self._a = a[0][found.passed_a :].copy(), a[1][found.passed_a :].copy()
        self._b = b[0][found.passed_b :].copy(), b[1][found.passed_b :].copy()
        if max(self.waiting) > MAX_WAITING:
            raise InputOutOfRange(
                f"{self.waiting[0]} clicks of A and {self.waiting[1]} of B wait for the other side, at most "
                f"{MAX_WAITING}: has one stream stopped, or is the clock relation wrong?"
            )
        return a[0][found.a], a[1][found.a], b[1][found.b]


def _after(
    waiting: tuple[NDArray[np.int64], NDArray[np.uint8]], time_ps: NDArray[np.int64], channel: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    if not waiting[0].size:
        return time_ps, channel
    return np.concatenate([waiting[0], time_ps]), np.concatenate([waiting[1], channel])
