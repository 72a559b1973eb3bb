"""When the transmitter sent pulses, and which law chose their symbols.

An emission is a stretch of transmitter time with one symbol law. Light of an emission arrives a fibre delay later,
so that a few past ones are kept; those of the present session are kept for the look-ups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim_instruments.physics.symbols import SymbolLaw, row_probabilities, symbols_of_slots


@dataclass(frozen=True, slots=True)
class Emission:
    """Pulses from `start_ps` to `stop_ps` (infinite: still running), transmitter clock; slot 0 starts at
    `origin_ps`."""

    start_ps: float
    stop_ps: float
    origin_ps: int
    law: SymbolLaw
    session: int  # ordinal of the session, 0 for a bare pattern
    probabilities: NDArray[np.float64]  # float64 [STATES, INTENSITIES]

    def slot_at(self, time_ps: float, slot_ps: float) -> float:
        """Slot coordinate at a transmitter time."""
        return (time_ps - self.origin_ps) / slot_ps


class EmissionLog:
    """The emissions that still matter, oldest first. At most one is running, and it is the last."""

    def __init__(self, slot_ps: float, fibre_delay_ps: float) -> None:
        self._slot_ps = slot_ps
        self._fibre_delay_ps = fibre_delay_ps
        self._emissions: list[Emission] = []

    def begin(self, start_ps: int, origin_ps: int, law: SymbolLaw, session: int) -> None:
        """A new law from `start_ps` on; what ran before ends there."""
        self.end(start_ps)
        self._emissions.append(Emission(start_ps, math.inf, origin_ps, law, session, row_probabilities(law)))

    def end(self, stop_ps: float) -> None:
        """No pulse leaves from `stop_ps` on."""
        if self._emissions and self._emissions[-1].stop_ps > stop_ps:
            self._emissions[-1] = replace(self._emissions[-1], stop_ps=stop_ps)

    def forget(self, now_ps: float, session: int) -> None:
        """Drop what has passed the fibre, unless it belongs to `session` (0: none)."""
        self._emissions = [
            e
            for e in self._emissions
            if e.stop_ps > e.start_ps
            and (e.stop_ps + self._fibre_delay_ps + self._slot_ps > now_ps or (session and e.session == session))
        ]

    def running(self, now_ps: float) -> Emission | None:
        """The emission under way, one that starts a little later included."""
        last = self._emissions[-1] if self._emissions else None
        return last if last is not None and last.stop_ps > now_ps else None

    def arriving(self, begin_ps: float, end_ps: float) -> list[tuple[Emission, float, float]]:
        """Emissions whose light reaches the receiver in [begin_ps, end_ps), with the slot coordinates of that light."""
        found = []
        for e in self._emissions:
            first = max(begin_ps - self._fibre_delay_ps, e.start_ps)
            last = min(end_ps - self._fibre_delay_ps, e.stop_ps)
            if first < last:
                found.append((e, e.slot_at(first, self._slot_ps), e.slot_at(last, self._slot_ps)))
        return found

    def symbols(self, slots: NDArray[np.int64], session: int) -> NDArray[np.uint8]:
        """Symbol bytes of slots of a session; bit 7 (invalid) where that session sent nothing."""
        result = np.full(slots.size, 0x80, dtype=np.uint8)
        for e in self._emissions:
            if e.session == session:
                start = e.slot_at(e.start_ps, self._slot_ps) - 1e-6
                sent = (slots >= start) & (slots < e.slot_at(e.stop_ps, self._slot_ps))
                result[sent] = symbols_of_slots(slots[sent], e.law)
        return result
