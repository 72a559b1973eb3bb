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
from postproc.timing.gate_table import GateTable, gate_table
from postproc.timing.gating import DetectionChunk, GatingState, assign_slots, detections


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
        self._gates, self._delays_ps = gates, channel_delays_ps
        self._table: GateTable | None = None
        self._dead_time_ps = common_dead_time_ps
        self._chunks: list[DetectionChunk] = []  # of the block in progress
        self._finished: list[Detections] = []
        self._block = first_slot  # first slot of the block in progress

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
        if self._table is None or not self._table.fits(segment.period_ps):
            self._table = gate_table(self._gates, segment.period_ps, self._delays_ps)
        clicks = assign_slots(time_ps, channel, segment, self._table)
        below = max(segment.slot_at(segment.until_ps - self._table.latest_offset_ps) - 1, self.complete_below)
        state, used, chunks = self.state, 0, []
        for edge in self._edges(below):
            chunk, state = detections(
                clicks,
                state,
                complete_below=edge,
                dead_slots=dead_slots(self._dead_time_ps, segment.period_ps),
                entropy=entropy[used:],
            )
            clicks = clicks[:0]
            used += chunk.entropy_used
            chunks.append(chunk)
        self.state, self.complete_below = state, below
        for chunk in chunks:
            self._add(chunk)
        return used

    def finished(self) -> list[Detections]:
        """Blocks whose slots have all been seen, in order; they are handed out once and `first_slot` moves on."""
        blocks, self._finished = self._finished, []
        self.first_slot += self.slots * len(blocks)
        return blocks

    def _edges(self, below: int) -> list[int]:
        """Where blocks begin or end among the slots that are complete now, and `below` itself."""
        first = max(self._block, self.complete_below + 1)
        first += -(first - self._block) % self.slots
        return [*range(first, below, self.slots), below]

    def _add(self, chunk: DetectionChunk) -> None:
        """A chunk, which lies in one block; the block is finished when the chunk reaches its end."""
        if chunk.complete_below > self._block:
            self._chunks.append(chunk)
        if chunk.complete_below == self._block + self.slots:
            self._finished.append(_block(self._block, self.slots, self._chunks))
            self._block += self.slots
            self._chunks = []


def _block(first_slot: int, slots: int, chunks: list[DetectionChunk]) -> Detections:
    return Detections(
        first_slot=first_slot,
        slots=slots,
        slot=np.concatenate([chunk.slot for chunk in chunks]),
        basis=np.concatenate([chunk.basis for chunk in chunks]),
        bit=np.concatenate([chunk.bit for chunk in chunks]),
        double_clicks=sum(chunk.double_clicks for chunk in chunks),
        cross_basis_clicks=sum(chunk.cross_basis_clicks for chunk in chunks),
        outside_gates=sum(chunk.outside for chunk in chunks),
        dead_time_removed=sum(chunk.removed for chunk in chunks),
    )
