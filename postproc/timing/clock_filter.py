"""The slot clock as a Kalman filter over (phase, relative frequency), two numbers and their covariance.

Process noise: white frequency noise moves the phase like a random walk (phase_walk_ps per square root of a second),
and the frequency itself walks (wander per square root of a second). Between measurements the line is extrapolated and
its uncertainty grows; a measurement is the phase of the pulse comb, known modulo the pulse distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.timing.clock import ClockSegment, PulsePhase

STEP_SIGMAS = 8.0
FLOOR_SIGMA_PS = 2.0  # drifts of the delays and table granularity: the filter never believes to know better
FIRST_PHASE_SIGMA_PS = 10.0


@dataclass(frozen=True, slots=True)
class ClockNoise:
    """wander: random walk of the relative frequency per square root of a second, > 0 (flicker noise and temperature
    count towards it); phase_walk_ps: random walk of the phase per square root of a second, >= 0, which is 10^12 times
    the Allan deviation at 1 s of white frequency noise."""

    wander: float
    phase_walk_ps: float


# Class values for the pair of clocks of a link, from the Allan deviations at 1 s that are usual for each kind
QUARTZ = ClockNoise(wander=1e-9, phase_walk_ps=150.0)
OVEN_QUARTZ = ClockNoise(wander=2e-11, phase_walk_ps=10.0)
RUBIDIUM = ClockNoise(wander=2e-12, phase_walk_ps=40.0)


@dataclass(slots=True)
class ClockState:
    """Slot `anchor_slot` begins at anchor_ps + fraction_ps; period_ps; variances of phase (ps^2) and relative
    frequency, and their covariance (ps)."""

    anchor_slot: int
    anchor_ps: int
    fraction_ps: float
    period_ps: float
    phase_variance: float
    covariance: float
    frequency_variance: float

    def line(self) -> ClockSegment:
        """The straight line that the state means."""
        return ClockSegment(self.anchor_slot, self.anchor_ps, self.fraction_ps, self.period_ps)


class ClockFilter:
    """Predicts and corrects; `state` is all it remembers."""

    def __init__(
        self,
        slot_zero_time_ps: float,
        period_ps: float,
        *,
        period_sigma_ps: float,
        noise: ClockNoise,
        max_step_ps: float,
    ) -> None:
        """As ClockTracker. Raises InputOutOfRange."""
        if not period_ps > 0 or not period_sigma_ps > 0 or not noise.wander > 0 or not noise.phase_walk_ps >= 0:
            raise InputOutOfRange(f"period {period_ps} +- {period_sigma_ps} ps (> 0), {noise} (> 0, >= 0)")
        if not 0 < max_step_ps <= period_ps / 8:
            raise InputOutOfRange(f"max_step_ps {max_step_ps}, allowed (0, {period_ps / 8}] (an eighth of the slot)")
        anchor = math.floor(slot_zero_time_ps)
        self.state = ClockState(
            0, anchor, float(slot_zero_time_ps - anchor), float(period_ps),
            FIRST_PHASE_SIGMA_PS**2, 0.0, (period_sigma_ps / period_ps) ** 2,
        )  # fmt: skip
        self._noise = noise
        self._max_step_ps = max_step_ps

    def advance(self, time_ps: int) -> None:
        """Move the anchor to the slot at `time_ps` and let the uncertainty grow."""
        state = self.state
        slots = state.line().slot_at(time_ps) - state.anchor_slot
        lapse = slots * state.period_ps
        whole = math.floor(state.fraction_ps + lapse)
        state.anchor_slot += slots
        state.anchor_ps += whole
        state.fraction_ps += lapse - whole
        seconds = abs(lapse) * 1e-12
        grown = self._noise.wander**2 * seconds
        state.phase_variance += lapse * (2 * state.covariance + lapse * state.frequency_variance)
        state.phase_variance += grown * lapse**2 / 3 + self._noise.phase_walk_ps**2 * seconds
        state.covariance += lapse * state.frequency_variance + grown * lapse / 2
        state.frequency_variance += grown

    def correct(self, phase: PulsePhase) -> None:
        """Take in a phase measured at the anchor. Raises SynchronisationLost for a step: a phase farther from the
        prediction than drift can explain."""
        state = self.state
        innovation = state.phase_variance + phase.sigma_ps**2 + FLOOR_SIGMA_PS**2
        limit = min(max(self._max_step_ps, STEP_SIGMAS * math.sqrt(innovation)), state.period_ps / 5)
        if abs(phase.residual_ps) > limit:
            raise SynchronisationLost(
                f"clock step at {state.anchor_ps} ps: the pulses are {phase.residual_ps:+.1f} ps from the prediction "
                f"(limit {limit:.1f} ps); the slot numbers are unknown from here, find the offset anew"
            )
        gain, frequency_gain = state.phase_variance / innovation, state.covariance / innovation
        state.fraction_ps += gain * phase.residual_ps
        state.period_ps *= 1 + frequency_gain * phase.residual_ps
        state.frequency_variance -= frequency_gain * state.covariance
        state.covariance *= 1 - gain
        state.phase_variance *= 1 - gain

    def require_certainty(self) -> None:
        """Raises SynchronisationLost when the extrapolated phase is no longer small against the pulse distance."""
        state = self.state
        sigma = math.sqrt(state.phase_variance)
        if sigma > state.period_ps / 16:
            raise SynchronisationLost(
                f"loss of signal: holdover exhausted at {state.anchor_ps} ps, the predicted phase is uncertain by "
                f"{sigma:.0f} ps (limit {state.period_ps / 16:.0f} ps); no pulses seen for too long"
            )
