"""Detections in fixed intervals of slots: the frozen slot assignment of each block.

The intervals are fixed beforehand and follow each other without gap; nothing about a block's content decides where it
ends (protocol §3.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange
from postproc.records import Detections, Gate
from postproc.timing.clock import ClockSegment
from postproc.timing.dead_time import dead_slots
from postproc.timing.gating import DetectionChunk, GatingState, assign_slots, detections, gate_table


def entropy_bytes_needed(tags: int) -> int:
    """Most bytes of entropy that `feed` can use for so many tags (one per slot with several clicks)."""
    return tags // 2 + 64


class BlockCollector:
    """Gathers the detections of consecutive blocks of `slots` slots each, the first from `first_slot` on.

    Feed every clock segment of the session in order, also those before `first_slot` (their dead times count); take what
    is complete with `finished()`. All state is `state`, `complete_below` and the detections not yet handed out.
    """

    def __init__(
        self,
        first_slot: int,
        slots: int,
        *,
        gates: tuple[Gate, ...],
        common_dead_time_ps: int,
        channel_delays_ps: dict[int, float] | None = None,
    ) -> None:
        if slots <= 0 or first_slot < 0 or common_dead_time_ps < 0 or not gates:
            raise InputOutOfRange(
                f"block of {slots} slots (> 0) from {first_slot} (>= 0), dead time {common_dead_time_ps} ps (>= 0), "
                f"{len(gates)} gates (> 0)"
            )
        self.first_slot = first_slot
        self.slots = slots
        self.complete_below = 0
        self.state = GatingState()
        self._table = gate_table(gates, channel_delays_ps)
        self._dead_time_ps = common_dead_time_ps
        self._chunks: list[DetectionChunk] = []
        delay = self._table.delay_ps
        self._latest_delay_ps = int(delay.max())
        self._gate_end_ps = max(gate.start_ps + gate.width_ps - float(delay[gate.channel]) for gate in gates)

    def feed(
        self,
        time_ps: NDArray[np.int64],
        channel: NDArray[np.uint8],
        segment: ClockSegment,
        entropy: NDArray[np.uint8],
    ) -> int:
        """Add the tags of one clock segment (those to which `segment` applies, already cut out of the batch).

        entropy: uint8, at least `entropy_bytes_needed(tags)` to be safe. Returns the number of bytes used. Raises
        InputOutOfRange when it does not suffice; nothing has changed then."""
        until = segment.until_ps - self._latest_delay_ps
        below = segment.slot_at(until - int(np.ceil(self._gate_end_ps))) - 1
        chunk, self.state = detections(
            assign_slots(time_ps, channel, segment, self._table),
            self.state,
            complete_until_ps=until,
            complete_below_slot=max(below, self.complete_below),
            dead_slots=dead_slots(self._dead_time_ps, segment.period_ps),
            entropy=entropy,
        )
        self.complete_below = chunk.complete_below
        self._chunks.append(chunk)
        return chunk.entropy_used

    def finished(self) -> list[Detections]:
        """Blocks whose slots have all been seen, in order; they are handed out once and `first_slot` moves on."""
        blocks = []
        while self.complete_below >= self.first_slot + self.slots:
            blocks.append(self._cut(self.first_slot + self.slots))
            self.first_slot += self.slots
        return blocks

    def _cut(self, end: int) -> Detections:
        """The detections of [first_slot, end); what lies beyond is kept."""
        whole = _joined(self._chunks, self.complete_below)
        self._chunks = [_part(whole, end, 1 << 62)]
        block = _part(whole, self.first_slot, end)
        return Detections(
            first_slot=self.first_slot,
            slots=self.slots,
            slot=block.slot,
            basis=block.basis,
            bit=block.bit,
            double_clicks=int(np.count_nonzero(block.kind == 1)),
            cross_basis_clicks=int(np.count_nonzero(block.kind == 2)),
            outside_gates=block.outside_slot.size,
            dead_time_removed=block.removed_slot.size,
        )


def _joined(chunks: list[DetectionChunk], complete_below: int) -> DetectionChunk:
    return DetectionChunk(
        slot=np.concatenate([chunk.slot for chunk in chunks]),
        basis=np.concatenate([chunk.basis for chunk in chunks]),
        bit=np.concatenate([chunk.bit for chunk in chunks]),
        kind=np.concatenate([chunk.kind for chunk in chunks]),
        removed_slot=np.concatenate([chunk.removed_slot for chunk in chunks]),
        outside_slot=np.concatenate([chunk.outside_slot for chunk in chunks]),
        complete_below=complete_below,
        entropy_used=0,
    )


def _part(chunk: DetectionChunk, first: int, end: int) -> DetectionChunk:
    """The part of a chunk whose slots lie in [first, end)."""
    kept = slice(*np.searchsorted(chunk.slot, [first, end]))
    removed, outside = chunk.removed_slot, chunk.outside_slot
    return DetectionChunk(
        slot=chunk.slot[kept],
        basis=chunk.basis[kept],
        bit=chunk.bit[kept],
        kind=chunk.kind[kept],
        removed_slot=removed[(removed >= first) & (removed < end)],
        outside_slot=outside[(outside >= first) & (outside < end)],
        complete_below=chunk.complete_below,
        entropy_used=0,
    )
