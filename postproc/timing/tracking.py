"""Keeps the slot clock locked to the light, batch by batch.

Each batch of a few milliseconds gives the phase of the pulse comb relative to the gates (circular mean over thousands
of clicks, some 0.1-1 ps); a Kalman filter over (phase, relative frequency offset) with white frequency noise `wander`
turns the phases into straight lines that gating uses. What it cannot follow it names:

* loss of signal: no comb in a batch. The line is extrapolated (`is_holdover`) until its own uncertainty is no longer
  small against the pulse distance; then SynchronisationLost("... holdover ...").
* step: the comb stands, but far from the prediction. The slot number is then unknown: SynchronisationLost("... step").
* slip: by whole pulse spacings the comb looks the same. Only errors show it: `is_slipped` on any disclosed sample.

After SynchronisationLost the offset must be found anew; the block in progress is destroyed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.records import Gate
from postproc.timing.clock import ClockSegment, PulsePhase, pulse_phase

MAX_PHASE_TAGS = 4_000  # per batch: 0.5 ps at 30 ps of jitter; more would not sharpen the loop
MIN_BATCH_SIGNIFICANCE = 20.0
MIN_STRENGTH = 0.3
STEP_SIGMAS = 8.0
FLOOR_SIGMA_PS = 2.0  # drifts of the delays and table granularity: the filter never believes to know better
SLIP_QBER = 0.3


@dataclass(slots=True)
class ClockState:
    """The filter: slot `anchor_slot` begins at anchor_ps + fraction_ps; period_ps; covariance of (phase ps, relative
    frequency)."""

    anchor_slot: int
    anchor_ps: int
    fraction_ps: float
    period_ps: float
    covariance: NDArray[np.float64]


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
        max_step_ps: float = 100.0,
    ) -> None:
        """slot_zero_time_ps, period_ps (+- period_sigma_ps): from offset and period recovery; batch_ps: length of one
        straight line, 10^8..10^10; wander: relative frequency change per square root of a second, > 0; max_step_ps:
        largest excursion from the prediction that is still taken for drift, < period/8."""
        if not period_ps > 0 or not 10**8 <= batch_ps <= 10**10 or not wander > 0 or not period_sigma_ps > 0:
            raise InputOutOfRange(
                f"period {period_ps} +- {period_sigma_ps} ps (> 0), batch {batch_ps} ps (1e8..1e10), "
                f"wander {wander} (> 0)"
            )
        if not 0 < max_step_ps <= period_ps / 8:
            raise InputOutOfRange(f"max_step_ps {max_step_ps}, allowed (0, {period_ps / 8}] (an eighth of the slot)")
        anchor = int(np.floor(slot_zero_time_ps))
        self.state = ClockState(
            0, anchor, slot_zero_time_ps - anchor, period_ps,
            np.diag([10.0**2, (period_sigma_ps / period_ps) ** 2]),
        )  # fmt: skip
        self._gates = gates
        self._batch_ps = batch_ps
        self._wander = wander
        self._max_step_ps = max_step_ps

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
        self._advance(middle)
        stride = max(1, time.size // MAX_PHASE_TAGS)
        phase = pulse_phase(time[::stride], channel[::stride], self._gates, self._line())
        is_locked = phase.significance >= MIN_BATCH_SIGNIFICANCE and phase.strength >= MIN_STRENGTH
        if is_locked:
            self._correct(phase, middle)
        self._check_holdover(middle)
        state = self.state
        return ClockSegment(
            state.anchor_slot, state.anchor_ps, state.fraction_ps, state.period_ps, start, stop, until,
            phase.residual_ps if is_locked else float("nan"), not is_locked,
        )  # fmt: skip

    def _line(self) -> ClockSegment:
        state = self.state
        return ClockSegment(state.anchor_slot, state.anchor_ps, state.fraction_ps, state.period_ps)

    def _advance(self, time_ps: int) -> None:
        """Move the anchor to the slot at `time_ps` and let the covariance grow."""
        state = self.state
        slots = self._line().slot_at(time_ps) - state.anchor_slot
        lapse = slots * state.period_ps
        whole = int(np.floor(state.fraction_ps + lapse))
        state.anchor_slot += slots
        state.anchor_ps += whole
        state.fraction_ps += lapse - whole
        seconds = abs(lapse) * 1e-12
        move = np.array([[1.0, lapse], [0.0, 1.0]])
        frequency_noise = self._wander**2 * seconds
        noise = frequency_noise * np.array([[lapse**2 / 3, lapse / 2], [lapse / 2, 1.0]])
        state.covariance = move @ state.covariance @ move.T + noise

    def _correct(self, phase: PulsePhase, middle: int) -> None:
        state = self.state
        measured = phase.sigma_ps**2 + FLOOR_SIGMA_PS**2
        innovation = state.covariance[0, 0] + measured
        limit = max(self._max_step_ps, STEP_SIGMAS * float(np.sqrt(innovation)))
        if abs(phase.residual_ps) > min(limit, state.period_ps / 5):
            raise SynchronisationLost(
                f"clock step at {middle} ps: the pulses are {phase.residual_ps:+.1f} ps from the prediction (limit "
                f"{limit:.1f} ps); the slot numbers are unknown from here, find the offset anew"
            )
        gain = state.covariance[:, 0] / innovation
        state.fraction_ps += float(gain[0]) * phase.residual_ps
        state.period_ps *= 1 + float(gain[1]) * phase.residual_ps
        state.covariance = state.covariance - np.outer(gain, state.covariance[0, :])

    def _check_holdover(self, middle: int) -> None:
        sigma = float(np.sqrt(self.state.covariance[0, 0]))
        if sigma > self.state.period_ps / 16:
            raise SynchronisationLost(
                f"loss of signal: holdover exhausted at {middle} ps, the predicted phase is uncertain by "
                f"{sigma:.0f} ps (limit {self.state.period_ps / 16:.0f} ps); no pulses seen for too long"
            )


def is_slipped(errors: int, compared: int) -> bool:
    """Whether a disclosed sample says that slots are numbered wrongly: its error ratio is above 0.3 by 3 sigma."""
    if not 0 <= errors <= compared:
        raise InputOutOfRange(f"{errors} errors among {compared} compared bits")
    return compared > 0 and errors / compared - SLIP_QBER > 3 * 0.5 / np.sqrt(compared)
