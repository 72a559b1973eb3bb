"""From tags to detections: slot assignment, double clicks, cross-basis clicks, the common dead time.

The rules, in the order in which they are applied (protocol §3.2; none depends on an outcome):
1. A click in a gate of its channel is an outcome (basis, bit) of a slot; any other click is ungated, and belongs to the
   slot around whose gates it lies.
2. The common dead time is whole slots: a slot is live when none of the `dead_slots` slots before it has a click of any
   detector, gated or not, discarded or not. Everything is discarded until all detectors are live again.
3. All gated clicks of a live slot belong together; ungated ones of the same slot change nothing. One outcome: that is
   the detection. Both bits of one basis: a random bit. Both bases: a random basis, and the outcome of that basis (a
   random bit if it has both).

Why whole slots, from slot to slot: were the dead time counted from click to click, a late bit would be live 0.8 ns
sooner than an early one, and its own dead time would end 0.8 ns later. The gaps between the announced slots, which
are public, would then tell bits: at 24.5 ns and slots of 1.6 ns a gap of 15 slots means early before late, always
(tests/postproc/timing/test_dead_time_tells_nothing.py).

Entropy: one byte for each slot with more than one outcome (bit 0 chooses the basis, bit 1 the bit), so at most half as
many bytes as there are tags. What is not used is not carried over.
Streams are cut anywhere, between slots: `GatingState` carries the last slot with a click, and the clicks of slots that
are not complete yet, because a channel with a longer delay may still deliver one. The naive twin is in
tests/postproc/timing/naive.py.

Speed: a click is one integer, slot * 256 + outcome bit, made from time and channel by passes that the compiler
vectorises; what follows has no branch that depends on the light.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange
from postproc.timing.clock import ClockSegment
from postproc.timing.gate_table import EDGE, FRACTION_BITS, PHASE_BIN_BITS, PHASE_BINS, GateTable, fixed

NEVER = -(1 << 54)  # a slot long before all others
KEY_BITS = 8  # of a click: the outcome bits below the slot number
MAX_SPAN_PS = 1 << 45  # of one straight line, 35 s: up to there the estimated bin is right to a thousandth
MOVES_PER_CLICK = 8  # insertion sort gives up beyond


def assign_slots(
    time_ps: NDArray[np.int64], channel: NDArray[np.uint8], clock: ClockSegment, table: GateTable
) -> NDArray[np.int64]:
    """Clicks, ordered by slot: int64 [n], slot * 256 + (1 << (2*basis + bit)), or slot * 256 + 0 of an ungated one.

    time_ps int64 [n] ascending, channel uint8 [n], both under the straight line `clock`. Anchor, period and gates are
    taken in units of 2^-40 ps; with these the assignment is exact. Raises InputOutOfRange when `table` was made for
    another period, or the tags span more than 35 s.
    """
    if not table.fits(clock.period_ps):
        raise InputOutOfRange(f"gate table made for slots of {table.period_ps} ps, the clock says {clock.period_ps} ps")
    clicks = np.empty(time_ps.size, dtype=np.int64)
    if time_ps.size == 0:
        return clicks
    if abs(int(time_ps[-1]) - int(time_ps[0])) >= MAX_SPAN_PS:
        raise InputOutOfRange(f"tags from {time_ps[0]} to {time_ps[-1]} ps under one line, at most {MAX_SPAN_PS} ps")
    period_fx = fixed(clock.period_ps)
    first_slot = clock.slot_at(int(time_ps[0])) - 1
    base_fx = (clock.anchor_ps << FRACTION_BITS) + fixed(clock.anchor_fraction_ps)
    base_fx += (first_slot - clock.anchor_slot) * period_fx
    base_ps, base_fraction_fx = base_fx >> FRACTION_BITS, base_fx & ((1 << FRACTION_BITS) - 1)
    offset_fx = table.offset_fx + base_fraction_fx
    offset_ps = table.offset_ps + base_fraction_fx * 2.0**-FRACTION_BITS
    edges = np.empty(time_ps.size, dtype=np.int32)
    _phase_bins(time_ps, channel, base_ps, offset_ps, PHASE_BINS / clock.period_ps, clicks)
    count = _look_up(channel, table.outcome, first_slot, clicks, edges)
    _decide_edges(
        edges[:count], time_ps, channel, base_ps, first_slot, period_fx, offset_fx,
        table.begin_fx, table.end_fx, table.gate_outcome, clicks,
    )  # fmt: skip
    if not _is_ordered(clicks) and not _insertion_sort(clicks, MOVES_PER_CLICK * clicks.size):
        clicks.sort()
    return clicks


@njit(nogil=True, cache=True)
def _phase_bins(time, channel, base, offset, bins_per_ps, out):  # type: ignore[no-untyped-def]
    """out[i] = bins since slot `base`: slot * 512 + phase bin."""
    for i in range(time.size):
        out[i] = np.int64(np.floor((np.float64(time[i] - base) - offset[channel[i]]) * bins_per_ps))


@njit(nogil=True, cache=True)
def _look_up(channel, outcome, first_slot, clicks, edges):  # type: ignore[no-untyped-def]
    """Bins into clicks, in place; lists those in edge bins (few) and returns their number."""
    count = 0
    for i in range(clicks.size):
        bins = clicks[i]
        phase = np.uint64(bins & (PHASE_BINS - 1))
        found = outcome[(np.uint64(channel[i]) << np.uint64(PHASE_BIN_BITS)) | phase]
        clicks[i] = (((bins >> PHASE_BIN_BITS) + first_slot) << KEY_BITS) | np.int64(found)
        if found & np.uint8(EDGE):
            edges[count] = i
            count += 1
    return count


@njit(nogil=True, cache=True)
def _decide_edges(edges, time, channel, base, first_slot, period, offset, begin, end, code, clicks):  # type: ignore[no-untyped-def]  # fmt: skip
    """The exact phase: u = (time - base) * 2^40 - offset - k * period modulo 2^64, in which only k may be off by 1."""
    for e in range(edges.size):
        i = edges[e]
        c = channel[i]
        slot = clicks[i] >> KEY_BITS
        phase = ((time[i] - base) << FRACTION_BITS) - offset[c] - (slot - first_slot) * period
        if phase < 0:
            phase += period
            slot -= 1
        elif phase >= period:
            phase -= period
            slot += 1
        found = np.int64(0)
        for g in range(begin.shape[1]):
            if begin[c, g] <= phase and phase < end[c, g]:
                found = np.int64(code[c, g])
        clicks[i] = (slot << KEY_BITS) | found


@njit(nogil=True, cache=True)
def _is_ordered(clicks):  # type: ignore[no-untyped-def]
    is_bad = False
    for i in range(1, clicks.size):
        is_bad |= (clicks[i] >> KEY_BITS) < (clicks[i - 1] >> KEY_BITS)
    return not is_bad


@njit(nogil=True, cache=True)
def _insertion_sort(clicks, most_moves):  # type: ignore[no-untyped-def]
    """For clicks that are nearly in order; False, with the clicks permuted somehow, when they are not."""
    for i in range(1, clicks.size):
        click = clicks[i]
        j = i
        while j > 0 and clicks[j - 1] > click:
            clicks[j] = clicks[j - 1]
            j -= 1
        clicks[j] = click
        most_moves -= i - j
        if most_moves < 0:
            return False
    return True


@dataclass(frozen=True, slots=True)
class GatingState:
    """What a later batch needs from the earlier ones: the last slot with a click of any kind, and the clicks of slots
    that are not complete."""

    last_slot: int = NEVER
    waiting: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class DetectionChunk:
    """Detections of the slots completed by one batch. slot int64 [n] strictly ascending; basis, bit uint8 [n];
    double_clicks: of them, from both bits of one basis; cross_basis_clicks: from both bases; removed, outside: gated
    clicks lost to the common dead time, ungated clicks. complete_below: all detections of slots below this number are
    out."""

    slot: NDArray[np.int64]
    basis: NDArray[np.uint8]
    bit: NDArray[np.uint8]
    double_clicks: int
    cross_basis_clicks: int
    removed: int
    outside: int
    complete_below: int
    entropy_used: int


def detections(
    clicks: NDArray[np.int64],
    state: GatingState,
    *,
    complete_below: int,
    dead_slots: int,
    entropy: NDArray[np.uint8],
) -> tuple[DetectionChunk, GatingState]:
    """Apply the rules above to the clicks (as `assign_slots` gives them) of slots below `complete_below`; later ones
    wait. Clicks of a slot that was complete already are removed.

    entropy: uint8 [m], uniform. Raises InputOutOfRange when it does not suffice (the state is unchanged then).
    """
    if state.waiting.size:
        clicks = np.concatenate([state.waiting, clicks])
        if not _is_ordered(clicks) and not _insertion_sort(clicks, MOVES_PER_CLICK * clicks.size):
            clicks.sort()
    first, end = np.searchsorted(clicks, [(state.last_slot + 1) << KEY_BITS, complete_below << KEY_BITS])
    late, ready, waiting = clicks[:first], clicks[first : max(first, end)], clicks[max(first, end) :]
    live = np.empty(ready.size + 1, np.int64)
    marks = np.empty(ready.size, np.uint8)
    gated = _mark(ready, dead_slots, state.last_slot, marks)
    found, merged = _keep_live(ready, marks, dead_slots, state.last_slot, live)
    slot, basis, bit = np.empty(found, np.int64), np.empty(found, np.uint8), np.empty(found, np.uint8)
    _split(live[:found], slot, basis, bit)
    used, cross = _resolve(live[:found], entropy, basis, bit)
    if used > entropy.size:
        raise InputOutOfRange(
            f"{used} bytes of entropy needed for slots with several clicks, {entropy.size} given; "
            "give half as many bytes as there are tags"
        )
    chunk = DetectionChunk(
        slot=slot, basis=basis, bit=bit, double_clicks=int(used - cross), cross_basis_clicks=int(cross),
        removed=int(gated - found - merged) + late.size, outside=int(ready.size - gated),
        complete_below=complete_below, entropy_used=int(used),
    )  # fmt: skip
    last_slot = int(ready[-1] >> KEY_BITS) if ready.size else state.last_slot
    return chunk, GatingState(last_slot, waiting.copy())


@njit(nogil=True, cache=True)
def _mark(clicks, dead_slots, last_slot, marks):  # type: ignore[no-untyped-def]
    """marks[i]: 1 for a gated click that begins a live slot, 2 for a later click of its slot, else 0. Returns the gated
    clicks."""
    gated = np.int64(0)
    for i in range(clicks.size):
        gated += np.int64((clicks[i] & (EDGE - 1)) != 0)
    if clicks.size:
        marks[0] = np.uint8(((clicks[0] >> KEY_BITS) - last_slot > dead_slots) & ((clicks[0] & (EDGE - 1)) != 0))
    for i in range(1, clicks.size):
        gap = (clicks[i] >> KEY_BITS) - (clicks[i - 1] >> KEY_BITS)
        begins = np.uint8((gap > dead_slots) & ((clicks[i] & (EDGE - 1)) != 0))
        marks[i] = begins | np.uint8(np.uint8(gap == 0) << np.uint8(1))
    return gated


@njit(nogil=True, cache=True)
def _keep_live(clicks, marks, dead_slots, last_slot, live):  # type: ignore[no-untyped-def]
    """Live slots with an outcome into live[:n], all their outcomes merged into one click; returns n and the gated
    clicks merged into earlier ones.

    Every step writes, only n says what stays: no branch depends on the light, but for a second click of a slot."""
    found = np.uint64(0)
    merged = np.int64(0)
    for i in range(clicks.size):
        live[found] = clicks[i]
        found += np.uint64(marks[i] & np.uint8(1))
        if marks[i] > np.uint8(1) and clicks[i] & (EDGE - 1):
            slot = clicks[i] >> KEY_BITS
            first = i - 1
            while marks[first] > np.uint8(1):
                first -= 1
            before = clicks[first - 1] >> KEY_BITS if first > 0 else last_slot
            if slot - before > dead_slots:
                if found > 0 and live[found - np.uint64(1)] >> KEY_BITS == slot:
                    live[found - np.uint64(1)] |= clicks[i]
                    merged += 1
                else:
                    live[found] = clicks[i]
                    found += np.uint64(1)
    return np.int64(found), merged


@njit(nogil=True, cache=True)
def _split(live, slot, basis, bit):  # type: ignore[no-untyped-def]
    """Slot, and basis and bit where there is one outcome (bits: 1 Z0, 2 Z1, 4 X0, 8 X1)."""
    for i in range(live.size):
        outcome = np.uint8(live[i] & (EDGE - 1))
        slot[i] = live[i] >> KEY_BITS
        basis[i] = outcome > np.uint8(3)
        bit[i] = (outcome & np.uint8(10)) != 0


@njit(nogil=True, cache=True)
def _resolve(live, entropy, basis, bit):  # type: ignore[no-untyped-def]
    """Basis and bit where there are several outcomes; returns how many, one byte of entropy each, and those with both
    bases."""
    used = cross = np.int64(0)
    for i in range(live.size):
        outcome = live[i] & (EDGE - 1)
        if outcome & (outcome - 1):
            random = np.int64(entropy[used]) if used < entropy.size else np.int64(0)
            used += 1
            key, test = outcome & 3, outcome >> 2
            is_cross = (key != 0) & (test != 0)
            cross += np.int64(is_cross)
            b = random & 1 if is_cross else np.int64(test != 0)
            pair = test if b else key
            basis[i] = b
            bit[i] = (random >> 1) & 1 if pair == 3 else pair >> 1
    return used, cross
