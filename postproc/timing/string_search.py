"""Where a public string begins in a sparse stream of outcomes: every lag of a wide range, 64 lags at a time.

The score of a lag is the number of clicks that agree with the string, A(lag) = sum_j [string[p_j - lag] = v_j] over
clicks at slots p_j with outcomes v_j. As lag runs over 64 neighbours, one click meets 64 neighbouring symbols: one
machine word of the bit plane "the string says v_j". The words of all clicks under the string are added bit by bit in
parallel, by carry-save adders (the counting of Harley and Seal, see Warren, Hacker's Delight, 2nd ed., 5-1), and
compared with a threshold in the same form. The work is (clicks under the string) * lags / 64, whatever the loss: where
an FFT over every slot takes longer with every dB, here the clicks stay as few as the significance needs.

Chance: without the string, A is binomial with p = share of the symbols that could agree, so that
z = (A - n p) / sqrt(n p (1 - p)) for n clicks under the string.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange

TILE_WORDS = 128  # lags per pass: 8192, so that all counters stay in the first-level cache
PLANES = 16  # counters up to 65535
MAX_CLICKS = (1 << PLANES) - 8
SIGMAS_KEPT = 5.0  # lags above are looked at one by one


@dataclass(frozen=True, slots=True)
class StringMatch:
    """The best lag, its z score, the clicks under the string there, and the z score of the best lag elsewhere (more
    than one slot away)."""

    lag: int
    z_score: float
    clicks: int
    runner_up_z: float


def find_string(
    slot: NDArray[np.int64], outcome: NDArray[np.uint8], symbol: NDArray[np.uint8], first_lag: int, lags: int
) -> StringMatch:
    """The lag in [first_lag, first_lag + lags) at which most clicks agree with the string.

    slot int64 [n] ascending; outcome uint8 [n], 0 or 1; symbol uint8 [L], L >= 8192: 0, 1, or 2 where the string says
    nothing. Slot p sees symbol p - lag. Raises InputOutOfRange for arguments, or when more than 65528 clicks lie under
    the string: take a shorter one.
    """
    _check(slot, outcome, symbol, lags)
    planes = _planes(symbol)
    share = float(np.count_nonzero(symbol < 2)) / (2 * symbol.size)
    best = StringMatch(first_lag, -np.inf, 0, -np.inf)
    width = 64 * TILE_WORDS
    words, counters = np.empty((8, TILE_WORDS), np.uint64), np.empty((PLANES + 1, TILE_WORDS), np.uint64)
    for lag in range(first_lag, first_lag + lags, width):
        reach = slice(*np.searchsorted(slot, [lag, lag + width + symbol.size]))
        clicks = reach.stop - reach.start
        if clicks > MAX_CLICKS:
            raise InputOutOfRange(f"{clicks} clicks under a string of {symbol.size} slots, at most {MAX_CLICKS}")
        under = clicks * symbol.size / (symbol.size + width)
        spread = max(np.sqrt(under * share * (1 - share)), 0.5)
        threshold = max(1, int(np.ceil(under * share + SIGMAS_KEPT * spread)))
        start = symbol.size - 1 - slot[reach] + lag + width  # bit of the first lag; both ends are padded by a tile
        _count_agreements(start, outcome[reach], planes, words, counters)
        if _reaches(counters, threshold):
            best = _better(best, lag, _unpacked(counters)[: first_lag + lags - lag], slot, symbol.size, share)
    return best


def _check(slot: NDArray[np.int64], outcome: NDArray[np.uint8], symbol: NDArray[np.uint8], lags: int) -> None:
    if slot.size != outcome.size or symbol.size < 64 * TILE_WORDS or lags < 1:
        raise InputOutOfRange(
            f"{slot.size} slots and {outcome.size} outcomes (equal), string of {symbol.size} (>= {64 * TILE_WORDS}), "
            f"{lags} lags (>= 1)"
        )
    if outcome.size and outcome.max() > 1:
        raise InputOutOfRange(f"outcome {outcome.max()}, allowed 0 and 1")
    if not np.count_nonzero(symbol < 2):
        raise InputOutOfRange("the string says nothing: no symbol is 0 or 1")


def _planes(symbol: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint64 [2, words]: bit k of plane v is set where the reversed string says v, a tile of zeros at either end."""
    bits = 64 * TILE_WORDS
    total = -(-(symbol.size + 2 * bits) // 64) * 64 + 64
    planes = np.zeros((2, total // 64), np.uint64)
    for value in (0, 1):
        padded = np.zeros(total, np.uint8)
        padded[bits : bits + symbol.size] = symbol[::-1] == value
        planes[value] = np.packbits(padded, bitorder="little").view(np.uint64)
    return planes


def _unpacked(counters: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Counts per lag, int64 [64 * TILE_WORDS]."""
    bits = np.unpackbits(counters[:PLANES].view(np.uint8), axis=1, bitorder="little").astype(np.int64)
    return (bits << np.arange(PLANES)[:, None]).sum(axis=0)


def _better(
    best: StringMatch, lag: int, agreements: NDArray[np.int64], slot: NDArray[np.int64], string_slots: int, share: float
) -> StringMatch:
    """The better of `best` and the best of the lags from `lag` on, with the z score of the other one remembered."""
    begins = np.searchsorted(slot, lag + np.arange(agreements.size))
    under = np.searchsorted(slot, lag + string_slots + np.arange(agreements.size)) - begins
    z = (agreements - under * share) / np.sqrt(np.maximum(under, 1) * share * (1 - share))
    top = int(z.argmax())
    aside = np.abs(np.arange(z.size) - top) > 1
    here = StringMatch(lag + top, float(z[top]), int(under[top]), float(z[aside].max(initial=-np.inf)))
    first, second = (here, best) if here.z_score > best.z_score else (best, here)
    others = [first.runner_up_z, second.runner_up_z]
    if abs(first.lag - second.lag) > 1:
        others.append(second.z_score)
    return replace(first, runner_up_z=max(others))


@njit(nogil=True, cache=True)
def _count_agreements(start, outcome, planes, words, counters):  # type: ignore[no-untyped-def]
    """counters[b, w]: bit b of the agreements of 64 lags, for all clicks; eight clicks go in at a time."""
    counters[:] = 0
    for first in range(0, start.size, 8):
        for k in range(8):
            if first + k < start.size:
                bit = start[first + k]
                _fetch(planes[outcome[first + k]], bit >> 6, np.uint64(bit & 63), words[k])
            else:
                words[k, :] = 0
        _add_eight(words, counters)


@njit(nogil=True, cache=True)
def _fetch(plane, word, shift, out):  # type: ignore[no-untyped-def]
    """TILE_WORDS words of the plane from a bit on."""
    part = plane[word : word + out.size + 1]
    back = np.uint64(63) - shift
    for w in range(out.size):
        out[w] = (part[w] >> shift) | ((part[w + 1] << np.uint64(1)) << back)


@njit(nogil=True, cache=True)
def _add_eight(words, counters):  # type: ignore[no-untyped-def]
    """Full adders turn eight words into ones, twos, fours and an eight, which ripples into the higher counters."""
    for w in range(words.shape[1]):
        a, b, c = words[0, w], words[1, w], counters[0, w]
        half = a ^ b
        ones, twos_a = half ^ c, (a & b) | (half & c)
        a, b = words[2, w], words[3, w]
        half = a ^ b
        ones, twos_b = half ^ ones, (a & b) | (half & ones)
        a, b = words[4, w], words[5, w]
        half = a ^ b
        ones, twos_c = half ^ ones, (a & b) | (half & ones)
        a, b = words[6, w], words[7, w]
        half = a ^ b
        ones, twos_d = half ^ ones, (a & b) | (half & ones)
        c = counters[1, w]
        half = twos_a ^ twos_b
        twos, fours_a = half ^ c, (twos_a & twos_b) | (half & c)
        half = twos_c ^ twos_d
        twos, fours_b = half ^ twos, (twos_c & twos_d) | (half & twos)
        c = counters[2, w]
        half = fours_a ^ fours_b
        counters[0, w], counters[1, w], counters[2, w] = ones, twos, half ^ c
        counters[PLANES, w] = (fours_a & fours_b) | (half & c)
    for plane in range(3, PLANES):
        _ripple(counters[plane], counters[PLANES])


@njit(nogil=True, cache=True)
def _ripple(counter, carry):  # type: ignore[no-untyped-def]
    for w in range(counter.size):
        total = counter[w] ^ carry[w]
        carry[w] &= counter[w]
        counter[w] = total


@njit(nogil=True, cache=True)
def _reaches(counters, threshold):  # type: ignore[no-untyped-def]
    """Whether any count is at least `threshold`, bit-parallel, from the highest plane down."""
    for w in range(counters.shape[1]):
        above, equal = np.uint64(0), ~np.uint64(0)
        for plane in range(PLANES - 1, -1, -1):
            bits = counters[plane, w]
            if (threshold >> plane) & 1:
                equal &= bits
            else:
                above |= equal & bits
                equal &= ~bits
        if above | equal:
            return True
    return False
