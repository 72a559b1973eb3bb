"""A receiver written for the reader and not for speed: tags to detections to error counts, one tag at a time.

It is told what a real one must find out: where slot 0 lies in the tagger's time, and each detector's delay.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.sim_instruments.bench import Gate


@dataclass
class SlowReceiver:
    gates: Sequence[Gate]
    slot_ps: float
    slot0_ps: float  # tagger time of the early pulse of slot 0 at a detector without skew
    skew_ps: Sequence[float]
    dead_ps: float
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def detections(self, time_ps: NDArray[np.int64], channel: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
        """(slot, basis, bit), one per live slot with a gated click."""
        found = []
        for slot, outcomes in self._live_slots(time_ps, channel):
            basis = self.rng.choice(sorted({b for b, _ in outcomes}))
            bit = self.rng.choice(sorted({v for b, v in outcomes if b == basis}))
            found.append((slot, basis, bit))
        return found

    def _live_slots(
        self, time_ps: NDArray[np.int64], channel: NDArray[np.uint8]
    ) -> Iterator[tuple[int, set[tuple[int, int]]]]:
        dead_slots = math.ceil(self.dead_ps / self.slot_ps - 1e-3)
        slots: dict[int, set[tuple[int, int]]] = {}
        for t, c in zip(time_ps.tolist(), channel.tolist(), strict=True):
            slot, outcome = self._outcome(t, c)
            slots.setdefault(slot, set()).update([] if outcome is None else [outcome])
        last = -1 << 60
        for slot in sorted(slots):
            if slots[slot] and slot - last > dead_slots:
                yield slot, slots[slot]
            last = slot

    def _outcome(self, time_ps: int, channel: int) -> tuple[int, tuple[int, int] | None]:
        """(slot, (basis, bit) or None outside the gates). A slot is cut half-way between its neighbours' pulses."""
        since_ps = time_ps - self.slot0_ps - self.skew_ps[channel - 1]
        slot = int((since_ps + 400.0) // self.slot_ps)
        phase_ps = since_ps - slot * self.slot_ps
        for gate_channel, start_ps, width_ps, basis, bit in self.gates:
            if gate_channel == channel and start_ps <= phase_ps < start_ps + width_ps:
                return slot, (basis, bit)
        return slot, None


def error_counts(detections: list[tuple[int, int, int]], symbols: NDArray[np.uint8]) -> dict[str, int]:
    """Sifted bits and errors per basis, and detections, given the symbols of the detections' slots."""
    counts = {"detections": len(detections), "sifted_z": 0, "errors_z": 0, "sifted_x": 0, "errors_x": 0}
    for (_, basis, bit), symbol in zip(detections, symbols.tolist(), strict=True):
        state = symbol & 15
        if state // 2 == basis:
            name = "zx"[basis]
            counts[f"sifted_{name}"] += 1
            counts[f"errors_{name}"] += int(state % 2 != bit)
    return counts
