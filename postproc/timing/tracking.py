"""Keeps the slot clock locked to the light, batch by batch.

Each batch of a few milliseconds gives the phase of the pulse comb relative to the gates (circular mean over thousands
of clicks, some 0.1-1 ps); a Kalman filter (postproc.timing.clock_filter) turns the phases into straight lines that
gating uses. What it cannot follow it names:

* loss of signal: no comb in a batch. The line is extrapolated (`is_holdover`) until its own uncertainty is no longer
  small against the pulse distance; then SynchronisationLost("loss of signal ... holdover ...").
* step: the comb stands, but far from the prediction. The slot number is then unknown: SynchronisationLost("clock
  step ...").
* slip: by whole pulse spacings the comb looks the same. Only errors show it: `require_no_slip` on any disclosed sample
  raises SynchronisationLost("slip ...").

After SynchronisationLost the offset must be found anew; the block in progress is destroyed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.records import Gate
from postproc.timing.clock import ClockSegment, pulse_phase
from postproc.timing.clock_filter import ClockFilter, ClockNoise, ClockState

MAX_PHASE_TAGS = 1_000  # per batch: 1.5 ps at 50 ps of jitter, below the filter's floor
MIN_BATCH_SIGNIFICANCE = 20.0
MIN_STRENGTH = 0.3
SLIP_QBER = 0.3


class ClockTracker:
    """Turns batches of tags into `ClockSegment`s. One instance per session; `state` is all it remembers."""

    def __init__(
        self,
        slot_zero_time_ps: float,
        period_ps: float,
        gates: tuple[Gate, ...],
        *,
        period_sigma_ps: float = 1e-4,
        batch_ps: int = 2_000_000_000,
        wander: float = 1e-9,
        phase_walk_ps: float = 2.0,
        max_step_ps: float = 100.0,
    ) -> None:
        """slot_zero_time_ps, period_ps (+- period_sigma_ps): from offset and period recovery; batch_ps: length of one
        straight line, 10^8..10^11; wander, phase_walk_ps: of the clocks, see ClockNoise; max_step_ps: largest excursion
        from the prediction that is still taken for drift, <= period/8. Raises InputOutOfRange."""
        if not 10**8 <= batch_ps <= 10**11:
            raise InputOutOfRange(f"batch {batch_ps} ps, allowed 1e8..1e11")
        self._filter = ClockFilter(
            slot_zero_time_ps, period_ps, period_sigma_ps=period_sigma_ps,
            noise=ClockNoise(wander, phase_walk_ps), max_step_ps=max_step_ps,
        )  # fmt: skip
        self._gates = gates
        self._batch_ps = batch_ps

    @property
    def state(self) -> ClockState:
        """The line as it stands, and how certain it is."""
        return self._filter.state

    def feed(
        self, time_ps: NDArray[np.int64], channel: NDArray[np.uint8], complete_until_ps: int
    ) -> tuple[ClockSegment, ...]:
        """Straight lines for the tags up to `complete_until_ps`, in order; together they cover all tags given.

        time_ps int64 [n] ascending, channel uint8 [n]. Raises SynchronisationLost on a step or an exhausted holdover.
        """
        pieces = []
        start = 0
        begin = int(time_ps[0]) if time_ps.size else complete_until_ps
        count = max(1, -(-(complete_until_ps - begin) // self._batch_ps))
        for piece in range(1, count + 1):
            until = complete_until_ps if piece == count else begin + piece * self._batch_ps
            stop = time_ps.size if piece == count else int(np.searchsorted(time_ps, until))
            pieces.append(self._track(time_ps[start:stop], channel[start:stop], start, stop, until))
            start = stop
        return tuple(pieces)

    def _track(
        self, time: NDArray[np.int64], channel: NDArray[np.uint8], start: int, stop: int, until: int
    ) -> ClockSegment:
        """One batch: predict to its middle, measure, correct, and re-anchor there."""
        middle = (int(time[0]) + int(time[-1])) // 2 if time.size else until
        self._filter.advance(middle)
        stride = max(1, time.size // MAX_PHASE_TAGS)
        phase = pulse_phase(time[::stride], channel[::stride], self._gates, self.state.line())
        is_locked = phase.significance >= MIN_BATCH_SIGNIFICANCE and phase.strength >= MIN_STRENGTH
        if is_locked:
            self._filter.correct(phase)
        self._filter.require_certainty()
        state = self.state
        return ClockSegment(
            state.anchor_slot, state.anchor_ps, state.fraction_ps, state.period_ps, start, stop, until,
            phase.residual_ps if is_locked else float("nan"), not is_locked,
        )  # fmt: skip


def is_slipped(errors: int, compared: int) -> bool:
    """Whether a disclosed sample says that slots are numbered wrongly: its error ratio is above 0.3 by 3 sigma."""
    if not 0 <= errors <= compared:
        raise InputOutOfRange(f"{errors} errors among {compared} compared bits")
    return compared > 0 and errors / compared - SLIP_QBER > 3 * 0.5 / math.sqrt(compared)


def require_no_slip(errors: int, compared: int) -> None:
    """Raises SynchronisationLost when a disclosed sample shows a slip."""
    if is_slipped(errors, compared):
        raise SynchronisationLost(
            f"slip: {errors} errors in {compared} compared bits, above {SLIP_QBER} by more than 3 sigmas, while the "
            "pulse comb stands: slots are numbered wrongly by a whole number of pulses, find the offset anew"
        )
