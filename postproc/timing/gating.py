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
Streams are cut anywhere: `GatingState` carries the last slot with a click and what it has gathered, and the clicks that
must wait because a channel with a shorter delay may still deliver an earlier one. The naive twin is in
tests/postproc/timing/naive.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange
from postproc.records import Gate
from postproc.timing.clock import ClockSegment

OUTSIDE = 255  # outcome code of an ungated click; gated: 2 * basis + bit
MAX_GATES_PER_CHANNEL = 4
MAX_CHANNELS = 32
NEVER = -(1 << 62)  # a slot long before all others


@dataclass(frozen=True, slots=True)
class SlottedClicks:
    """Clicks in channel-delay-corrected time. time_ps int64 [n]; slot int64 [n]; outcome uint8 [n] (2*basis + bit, or
    OUTSIDE)."""

    time_ps: NDArray[np.int64]
    slot: NDArray[np.int64]
    outcome: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GateTable:
    """Gates as arrays [channel, k], ready for the kernel; `delay_ps` int64 [channel] is removed before ordering. The
    gates of one slot, delays removed, lie in [first_ps, first_ps + span_ps)."""

    start_ps: NDArray[np.float64]
    width_ps: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    delay_ps: NDArray[np.int64]
    first_ps: float
    span_ps: float


def gate_table(gates: tuple[Gate, ...], channel_delays_ps: dict[int, float] | None = None) -> GateTable:
    """Arrays of `gates`. channel_delays_ps: detection delay of each channel relative to the others (0 where missing);
    it only orders clicks of different channels, the gates themselves already contain it.

    Raises InputOutOfRange for a channel outside 1..31, a bit that is no bit, a width <= 0, or too many gates."""
    start = np.zeros((MAX_CHANNELS, MAX_GATES_PER_CHANNEL))
    width = np.full((MAX_CHANNELS, MAX_GATES_PER_CHANNEL), -1.0)
    outcome = np.full((MAX_CHANNELS, MAX_GATES_PER_CHANNEL), OUTSIDE, dtype=np.uint8)
    delay = np.zeros(MAX_CHANNELS, dtype=np.int64)
    used: dict[int, int] = {}
    for gate in gates:
        k = used.get(gate.channel, 0)
        if not 1 <= gate.channel < MAX_CHANNELS or gate.bit not in (0, 1) or not gate.width_ps > 0:
            raise InputOutOfRange(f"{gate}: channel 1..{MAX_CHANNELS - 1}, bit 0 or 1, width > 0 ps")
        if k == MAX_GATES_PER_CHANNEL:
            raise InputOutOfRange(f"channel {gate.channel} has more than {MAX_GATES_PER_CHANNEL} gates")
        start[gate.channel, k], width[gate.channel, k] = gate.start_ps, gate.width_ps
        outcome[gate.channel, k] = 2 * gate.basis + gate.bit
        used[gate.channel] = k + 1
    for channel, value in (channel_delays_ps or {}).items():
        delay[channel] = round(value)
    starts = [gate.start_ps - float(delay[gate.channel]) for gate in gates]
    ends = [first + gate.width_ps for first, gate in zip(starts, gates, strict=True)]
    first_ps = min(starts, default=0.0)
    return GateTable(start, width, outcome, delay, first_ps, max(ends, default=0.0) - first_ps)


def assign_slots(
    time_ps: NDArray[np.int64], channel: NDArray[np.uint8], clock: ClockSegment, table: GateTable
) -> SlottedClicks:
    """Slot and outcome of each tag (int64 [n], uint8 [n]) under the straight line `clock`.

    Slots are cut in the middle between the last gate of one and the first gate of the next. Raises InputOutOfRange when
    the gates of one slot, delays removed, take more than a slot: a click would not know its slot then."""
    if table.span_ps > clock.period_ps:
        raise InputOutOfRange(
            f"the gates of a slot span {table.span_ps:g} ps without their delays, a slot has {clock.period_ps:g} ps"
        )
    cut_ps = table.first_ps - (clock.period_ps - table.span_ps) / 2
    slot = np.empty(time_ps.size, dtype=np.int64)
    outcome = np.empty(time_ps.size, dtype=np.uint8)
    corrected = np.empty(time_ps.size, dtype=np.int64)
    _assign(
        time_ps, channel, clock.anchor_slot, clock.anchor_ps, clock.anchor_fraction_ps, clock.period_ps,
        table.start_ps, table.width_ps, table.outcome, table.delay_ps, cut_ps, corrected, slot, outcome,
    )  # fmt: skip
    return SlottedClicks(corrected, slot, outcome)


@njit(nogil=True, cache=True)
def _assign(time, channel, anchor_slot, anchor_ps, fraction, period, start, width, code, delay, cut, corrected, slot, out):  # type: ignore[no-untyped-def]  # fmt: skip  # noqa: E501
    """A click at u = time - slot zero - gate start belongs to slot floor(u / period) if the rest is below the width."""
    inverse = 1.0 / period
    for i in range(time.size):
        c = channel[i]
        if c >= delay.size:
            c = 0
        since = float(time[i] - anchor_ps) - fraction
        corrected[i] = time[i] - delay[c]
        out[i] = OUTSIDE
        for g in range(MAX_GATES_PER_CHANNEL):
            if width[c, g] <= 0.0:
                break
            u = since - start[c, g]
            k = np.floor(u * inverse)
            if u - k * period < width[c, g]:
                slot[i] = anchor_slot + np.int64(k)
                out[i] = code[c, g]
                break
        if out[i] == OUTSIDE:
            slot[i] = anchor_slot + np.int64(np.floor((since - delay[c] - cut) * inverse))


@dataclass(frozen=True, slots=True)
class GatingState:
    """What a later batch needs from the earlier ones.

    last_slot: the last slot with a click of any kind; is_live: whether it was live; open_mask: outcomes gathered in it
    (bit 2*basis + bit; 0: none, or handed out); waiting: clicks after the time up to which all channels have reported.
    """

    last_slot: int = NEVER
    is_live: bool = False
    open_mask: int = 0
    waiting: SlottedClicks | None = None


@dataclass(frozen=True, slots=True)
class DetectionChunk:
    """Detections of one batch. slot int64 [n] strictly ascending; basis, bit uint8 [n]; kind uint8 [n]: 0 single, 1
    both bits of a basis, 2 both bases. removed_slot, outside_slot: slots of discarded and of ungated clicks (for the
    counters of the block they fall into). complete_below: all detections of slots below this number are out."""

    slot: NDArray[np.int64]
    basis: NDArray[np.uint8]
    bit: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    removed_slot: NDArray[np.int64]
    outside_slot: NDArray[np.int64]
    complete_below: int
    entropy_used: int


def detections(
    clicks: SlottedClicks,
    state: GatingState,
    *,
    complete_until_ps: int,
    complete_below_slot: int,
    dead_slots: int,
    entropy: NDArray[np.uint8],
) -> tuple[DetectionChunk, GatingState]:
    """Apply the rules above to the clicks before `complete_until_ps` (delay-corrected time); later ones wait.

    complete_below_slot: every click of a smaller slot number is before complete_until_ps; entropy: uint8 [m], uniform.
    Raises InputOutOfRange when the entropy does not suffice (nothing is consumed then: the state is unchanged).
    """
    ready, waiting = _ready(clicks, state.waiting, complete_until_ps)
    n = ready.time_ps.size + 1
    slot, mask = np.empty(n, np.int64), np.empty(n, np.uint8)
    removed, outside = np.empty(n, np.int64), np.empty(n, np.int64)
    found, n_removed, n_outside, last_slot, is_live, open_mask = _gather(
        ready.slot, ready.outcome, dead_slots, complete_below_slot,
        state.last_slot, state.is_live, state.open_mask, slot, mask, removed, outside,
    )  # fmt: skip
    basis, bit, kind = (np.empty(found, np.uint8) for _ in range(3))
    used = int(_resolve(mask[:found], entropy, basis, bit, kind))
    if used > entropy.size:
        raise InputOutOfRange(
            f"{used} bytes of entropy needed for slots with several clicks, {entropy.size} given; "
            "give half as many bytes as there are tags"
        )
    chunk = DetectionChunk(
        slot=slot[:found], basis=basis, bit=bit, kind=kind,
        removed_slot=removed[:n_removed], outside_slot=outside[:n_outside],
        complete_below=complete_below_slot, entropy_used=used,
    )  # fmt: skip
    return chunk, GatingState(int(last_slot), bool(is_live), int(open_mask), waiting)


def _ready(
    clicks: SlottedClicks, waiting: SlottedClicks | None, complete_until_ps: int
) -> tuple[SlottedClicks, SlottedClicks | None]:
    """Waiting and new clicks in order of corrected time, split at the time up to which they are complete."""
    time, slot, outcome = clicks.time_ps, clicks.slot, clicks.outcome
    if waiting is not None:
        time = np.concatenate([waiting.time_ps, time])
        slot = np.concatenate([waiting.slot, slot])
        outcome = np.concatenate([waiting.outcome, outcome])
    if not _is_sorted(time):
        order = np.argsort(time, kind="stable")
        time, slot, outcome = time[order], slot[order], outcome[order]
    cut = int(np.searchsorted(time, complete_until_ps))
    rest = SlottedClicks(time[cut:], slot[cut:], outcome[cut:]) if cut < time.size else None
    return SlottedClicks(time[:cut], slot[:cut], outcome[:cut]), rest


@njit(nogil=True, cache=True)
def _is_sorted(time):  # type: ignore[no-untyped-def]
    for i in range(1, time.size):  # noqa: SIM110
        if time[i] < time[i - 1]:
            return False
    return True


@njit(nogil=True, cache=True)
def _gather(slot, outcome, dead_slots, below, last_slot, is_live, mask, out_slot, out_mask, removed, outside):  # type: ignore[no-untyped-def]  # fmt: skip
    """One pass in time order; a slot is closed by the first click of a later one, or by `below`."""
    n = n_removed = n_outside = 0
    for i in range(slot.size):
        if slot[i] > last_slot:
            if mask:
                out_slot[n], out_mask[n] = last_slot, mask
                n += 1
            is_live = slot[i] - last_slot > dead_slots
            last_slot, mask = slot[i], 0
        if outcome[i] == OUTSIDE:
            outside[n_outside] = slot[i]
            n_outside += 1
        elif is_live and slot[i] == last_slot:
            mask |= 1 << np.int64(outcome[i])
        else:
            removed[n_removed] = slot[i]
            n_removed += 1
    if mask and last_slot < below:
        out_slot[n], out_mask[n] = last_slot, mask
        n += 1
        mask = 0
    return n, n_removed, n_outside, last_slot, is_live, mask


@njit(nogil=True, cache=True)
def _resolve(mask, entropy, basis, bit, kind):  # type: ignore[no-untyped-def]
    """Outcome masks 1..15 (bits: Z0, Z1, X0, X1) to one outcome each; returns the bytes of entropy needed."""
    used = 0
    for i in range(mask.size):
        m = np.int64(mask[i])
        random = np.int64(0)
        kind[i] = 0
        if m & (m - 1):
            if used < entropy.size:
                random = np.int64(entropy[used])
            used += 1
            kind[i] = 1
        b = np.int64(1 if m & 12 else 0)
        if m & 12 and m & 3:
            b = random & 1
            kind[i] = 2
        pair = m >> 2 if b else m & 3
        basis[i] = b
        bit[i] = (random >> 1) & 1 if pair == 3 else pair >> 1
    return used
