"""The time tagger's clock as seen from the transmitter's clock, which is the simulation's time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim_instruments.model import ClockModel


class TaggerClock:
    """Reading = whole ps at an anchor + rate * (time since the anchor); the anchor moves from drift step to drift step.

    The rate of a step holds the frequency offset (none with a shared 10 MHz reference), its random walk, and the
    phase walk of that step; so the reading is continuous and rises always, but for a fault's deliberate step.
    """

    def __init__(self, clock: ClockModel) -> None:
        self._clock = clock
        self._walk = 0.0
        self._rate_error = self._offset()
        self._anchor_ps = 0.0  # reading at the anchor since the tagger's start
        self._step_ps = 0.0

    def _offset(self) -> float:
        return 0.0 if self._clock.has_shared_10mhz else self._clock.frequency_offset_ppm * 1e-6

    def begin_step(self, step_s: float, rng: np.random.Generator) -> None:
        """Draw the rate of the drift step that begins now."""
        self._walk += self._clock.frequency_walk_per_sqrt_s * math.sqrt(step_s) * float(rng.normal())
        phase_ps = self._clock.phase_walk_ps_per_sqrt_s * math.sqrt(step_s) * float(rng.normal())
        self._rate_error = self._offset() + self._walk + phase_ps * 1e-12 / step_s

    def advance(self, duration_ps: float) -> None:
        """Move the anchor by `duration_ps` of simulated time."""
        self._anchor_ps += duration_ps + duration_ps * self._rate_error

    def restart(self) -> None:
        """The reading is 0 now."""
        self._anchor_ps = 0.0

    def set_step_ps(self, step_ps: float) -> None:
        """Shift all readings from now on by `step_ps` in total (a fault; 0 undoes it)."""
        self._anchor_ps += step_ps - self._step_ps
        self._step_ps = step_ps

    def read(self, since_anchor_ps: NDArray[np.float64]) -> NDArray[np.int64]:
        """Readings, int64 ps, at times float64 ps after the anchor. Quantised to 1 ps."""
        whole = math.floor(self._anchor_ps)
        fraction = self._anchor_ps - whole
        return np.rint(since_anchor_ps * (1.0 + self._rate_error) + fraction).astype(np.int64) + whole
