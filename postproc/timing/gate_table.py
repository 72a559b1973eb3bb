"""Gates as a table: from the phase of a click in its slot to its outcome, by one look-up.

A slot is divided into `PHASE_BINS` bins. A bin wholly inside a gate, or wholly outside all gates, gives the outcome at
once; a bin in which a gate or the slot begins or ends is marked EDGE, and the click in it is decided by integer
arithmetic in units of 2^-40 ps (`FRACTION_BITS`), which has no rounding. So the floating-point estimate of the
bin needs to be right to `EDGE_MARGIN` bins only, and the result does not depend on it.

Slots are cut in the middle between the last gate of one and the first gate of the next, delays removed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange
from postproc.records import Gate

PHASE_BIN_BITS = 9
PHASE_BINS = 1 << PHASE_BIN_BITS
FRACTION_BITS = 40  # of a ps
EDGE = 128  # mark of a bin that needs exact arithmetic
EDGE_MARGIN = 0.03  # bins
MAX_GATES_PER_CHANNEL = 4
MAX_CHANNELS = 32
MAX_DELAY_PS = 4e6  # in 2^-40 ps it fits an int64
CHANNEL_CODES = 256  # every uint8 is looked up; those without gates are ungated, without delay


@dataclass(frozen=True, slots=True)
class GateTable:
    """Gates of one slot period, ready for the kernels. Phases count from the cut of the slot.

    outcome: uint8 [256 * PHASE_BINS], one bit 1 << (2*basis + bit) of a gated click, 0 of an ungated one, or EDGE;
    offset_ps float64 [256], offset_fx int64 [256] (the same in 2^-40 ps): delay of the channel, plus where the slot is
    cut; begin_fx, end_fx int64 [256, 4], gate_outcome uint8 [256, 4]: the gates, [0, 0) where there is none.
    period_ps: for which it was made; latest_offset_ps: the greatest offset, rounded up.
    """

    outcome: NDArray[np.uint8]
    offset_ps: NDArray[np.float64]
    offset_fx: NDArray[np.int64]
    begin_fx: NDArray[np.int64]
    end_fx: NDArray[np.int64]
    gate_outcome: NDArray[np.uint8]
    period_ps: float
    latest_offset_ps: int

    def fits(self, period_ps: float) -> bool:
        """Whether the bins are still where they should be, to a third of the margin, at this period."""
        return abs(period_ps / self.period_ps - 1) * PHASE_BINS < EDGE_MARGIN / 3


def fixed(value_ps: float) -> int:
    """`value_ps` in units of 2^-40 ps, rounded."""
    return round(math.ldexp(value_ps, FRACTION_BITS))


def gate_table(
    gates: tuple[Gate, ...], period_ps: float, channel_delays_ps: dict[int, float] | None = None
) -> GateTable:
    """The table of `gates` for slots of `period_ps`. channel_delays_ps: detection delay of each channel relative to the
    others (0 where missing, rounded to ps); the gates themselves already contain it.

    Raises InputOutOfRange for a channel outside 1..31, a bit that is no bit, a width <= 0, too many gates, overlapping
    gates of a channel, or when the gates of one slot, delays removed, take more than a slot: a click would not know its
    slot then."""
    _check(gates, period_ps)
    delay = np.zeros(CHANNEL_CODES, dtype=np.int64)
    for channel, value in (channel_delays_ps or {}).items():
        if not 0 <= channel < CHANNEL_CODES or not abs(value) < MAX_DELAY_PS:
            raise InputOutOfRange(f"delay {value} ps of channel {channel}: below {MAX_DELAY_PS:g} ps, channel 0..255")
        delay[channel] = round(value)
    starts = [gate.start_ps - float(delay[gate.channel]) for gate in gates]
    ends = [start + gate.width_ps for start, gate in zip(starts, gates, strict=True)]
    first, span = min(starts, default=0.0), max(ends, default=0.0) - min(starts, default=0.0)
    if span > period_ps:
        raise InputOutOfRange(f"the gates of a slot span {span:g} ps without their delays, a slot has {period_ps:g} ps")
    cut_fx = fixed(first - (period_ps - span) / 2)
    offset_fx = (delay << FRACTION_BITS) + cut_fx
    begin, end = (np.zeros((CHANNEL_CODES, MAX_GATES_PER_CHANNEL), dtype=np.int64) for _ in range(2))
    code = np.zeros((CHANNEL_CODES, MAX_GATES_PER_CHANNEL), dtype=np.uint8)
    outcome = np.zeros((CHANNEL_CODES, PHASE_BINS), dtype=np.uint8)
    outcome[:, [0, -1]] = EDGE
    used: dict[int, int] = {}
    for gate in gates:
        c, k = gate.channel, used.get(gate.channel, 0)
        begin[c, k] = fixed(gate.start_ps) - int(offset_fx[c])
        end[c, k] = fixed(gate.start_ps + gate.width_ps) - int(offset_fx[c])
        code[c, k] = 1 << (2 * gate.basis + gate.bit)
        _enter(outcome[c], begin[c, k] / fixed(period_ps), end[c, k] / fixed(period_ps), int(code[c, k]))
        used[c] = k + 1
    _refuse_overlap(begin, end)
    return GateTable(
        outcome=outcome.reshape(-1), offset_ps=offset_fx.astype(np.float64) * 2.0**-FRACTION_BITS, offset_fx=offset_fx,
        begin_fx=begin, end_fx=end, gate_outcome=code, period_ps=period_ps,
        latest_offset_ps=-(-int(offset_fx.max()) >> FRACTION_BITS),
    )  # fmt: skip


def _check(gates: tuple[Gate, ...], period_ps: float) -> None:
    if not 1.0 <= period_ps <= 4e6:
        raise InputOutOfRange(f"slot period {period_ps} ps, allowed 1..4e6")
    used = [0] * MAX_CHANNELS
    for gate in gates:
        if not 1 <= gate.channel < MAX_CHANNELS or gate.bit not in (0, 1) or not gate.width_ps > 0:
            raise InputOutOfRange(f"{gate}: channel 1..{MAX_CHANNELS - 1}, bit 0 or 1, width > 0 ps")
        used[gate.channel] += 1
        if used[gate.channel] > MAX_GATES_PER_CHANNEL:
            raise InputOutOfRange(f"channel {gate.channel} has more than {MAX_GATES_PER_CHANNEL} gates")


def _refuse_overlap(begin: NDArray[np.int64], end: NDArray[np.int64]) -> None:
    for channel in np.flatnonzero((end > begin).any(axis=1)):
        used = end[channel] > begin[channel]
        order = np.argsort(begin[channel][used])
        if (begin[channel][used][order][1:] < end[channel][used][order][:-1]).any():
            raise InputOutOfRange(f"two gates of channel {channel} overlap: a click would have two outcomes")


def _enter(bins: NDArray[np.uint8], begin: float, end: float, code: int) -> None:
    """A gate from `begin` to `end` (fractions of the slot) into the bins of its channel."""
    first, last = begin * PHASE_BINS, end * PHASE_BINS
    inside = slice(math.ceil(first), math.floor(last))
    bins[inside] = np.where(bins[inside] == EDGE, EDGE, code)
    for edge in (first, last):
        bins[max(0, math.floor(edge - EDGE_MARGIN)) : math.floor(edge + EDGE_MARGIN) + 1] = EDGE
