"""Single-photon detectors: efficiency and dark counts against bias, and the ordered pass that makes clicks of
events."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim_instruments.model import CHANNELS, DetectorModel

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def _is_live(detectors: DetectorModel, bias_a: float, trigger_v: float) -> bool:
    """Whether pulses can be counted: wire superconducting and biased, discriminator below the pulse height."""
    return 0.0 < bias_a <= detectors.switching_bias_a and abs(trigger_v) < detectors.pulse_height_v


def efficiency(detectors: DetectorModel, channel: int, bias_a: float, trigger_v: float) -> float:
    """Detection efficiency: a sigmoid of the bias that has its configured value at the nominal bias."""
    if not _is_live(detectors, bias_a, trigger_v):
        return 0.0
    rise: Callable[[float], float] = lambda a: (  # noqa: E731
        0.5 * (1.0 + math.erf((a - detectors.half_efficiency_bias_a) / detectors.plateau_width_a))
    )
    return min(1.0, detectors.efficiency[channel - 1] * rise(bias_a) / rise(detectors.nominal_bias_a))


def dark_rate_hz(detectors: DetectorModel, channel: int, bias_a: float, trigger_v: float) -> float:
    """Dark counts grow exponentially with the bias; a discriminator within the noise counts noise as well."""
    if not _is_live(detectors, bias_a, trigger_v):
        return 0.0
    wire_hz = detectors.dark_rate_hz[channel - 1] * math.exp(
        (bias_a - detectors.nominal_bias_a) / detectors.dark_scale_a
    )
    noise_hz = 0.0
    if detectors.electronic_noise_v > 0.0:
        noise_hz = 1e8 * math.exp(
            -0.5 * (trigger_v / detectors.electronic_noise_v) ** 2
        )  # Rice's formula, 100 MHz wide
    return min(wire_hz + noise_hz, 1e8)


class Recovery(NamedTuple):
    """Per channel float64 [4]: dead time, and the state that passes from block to block, in block time: the last click
    and a pending afterpulse (infinite: none)."""

    dead_ps: NDArray[np.float64]
    last_ps: NDArray[np.float64]
    pending_ps: NDArray[np.float64]
    afterpulse_probability: float
    afterpulse_time_ps: float


def fresh_recovery(detectors: DetectorModel) -> Recovery:
    """Detectors that have not clicked for long."""
    return Recovery(
        np.array(detectors.dead_time_ps, dtype=np.float64),
        np.full(CHANNELS, -math.inf),
        np.full(CHANNELS, math.inf),
        detectors.afterpulse_probability,
        detectors.afterpulse_time_ps,
    )


@njit(nogil=True, cache=True)
def clicks(
    rng: np.random.Generator,
    time_ps: NDArray[np.float64],
    channel: NDArray[np.uint8],
    until_ps: float,
    recovery: Recovery,
    out_time_ps: NDArray[np.float64],
    out_channel: NDArray[np.uint8],
) -> tuple[int, int]:
    """Clicks before `until_ps` of events sorted in time; (events consumed, clicks written).

    A detector ignores what comes within its dead time after a click (not extended by it). With the afterpulse
    probability a click leaves one more event, after the dead time and an exponential delay. The out arrays must hold
    all events and as many afterpulses: twice the events and CHANNELS more.
    """
    written = 0
    i = 0
    while True:
        first = 0
        for d in range(1, recovery.pending_ps.size):
            if recovery.pending_ps[d] < recovery.pending_ps[first]:
                first = d
        due_ps = recovery.pending_ps[first]
        while i < time_ps.size and time_ps[i] < until_ps and time_ps[i] <= due_ps:
            t, d = time_ps[i], channel[i] - 1
            i += 1
            if t - recovery.last_ps[d] < recovery.dead_ps[d]:
                continue
            recovery.last_ps[d] = t
            out_time_ps[written] = t
            out_channel[written] = d + 1
            written += 1
            if rng.random() < recovery.afterpulse_probability:
                after_ps = t + recovery.dead_ps[d] + recovery.afterpulse_time_ps * rng.standard_exponential()
                recovery.pending_ps[d] = min(recovery.pending_ps[d], after_ps)
                due_ps = min(due_ps, recovery.pending_ps[d])
        if due_ps >= until_ps and (i >= time_ps.size or time_ps[i] >= until_ps):
            return i, written
        if due_ps < until_ps and (i >= time_ps.size or time_ps[i] > due_ps):
            for d in range(recovery.pending_ps.size):
                if recovery.pending_ps[d] == due_ps:
                    recovery.pending_ps[d] = np.inf
                    if due_ps - recovery.last_ps[d] >= recovery.dead_ps[d]:
                        recovery.last_ps[d] = due_ps
                        out_time_ps[written] = due_ps
                        out_channel[written] = d + 1
                        written += 1
