"""The slot period, from the tags alone.

The Rayleigh periodogram R(f) = |sum_j exp(2 pi i f t_j)| peaks at the pulse rate. It is searched on few tags first
(a short span has a broad peak, so few trial frequencies cover the whole range of clock offsets) and on ever longer
spans around the last maximum; then the phases unwrap and a straight line fitted to them gives the period with the
precision of all tags, sigma(f)/f = sqrt(12) sigma_t / (T sqrt(M)) for M tags of jitter sigma_t over a time T.

A slot of the time-bin encoding holds two pulses half a period apart, equally bright on average, so the strong line is
at twice the slot rate: `pulses_per_period` says how many equidistant pulses share a slot. The line gives the phase of
the pulses modulo their distance; which of them is the early one, and which slot is slot 0, the offset search answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, SynchronisationLost

MIN_TAGS = 50
FIRST_SPAN_TAGS = 400
SPAN_GROWTH = 6
OVERSAMPLING = 4  # trial frequencies per 1/T
MAX_TRIALS = 200_000
MAX_TAGS = 1 << 20  # more would not sharpen the estimate enough to be worth the time
MIN_POWER = 25.0  # R^2/M; for uniform tags exceeded with probability exp(-25) at each trial frequency


@dataclass(frozen=True, slots=True)
class PeriodEstimate:
    """period_ps: slot period in ticks of the receiver's clock; sigma: its standard error, ps; significance: R^2/M, the
    false-alarm probability is about (trial frequencies) * exp(-significance); phase_ps: pulses arrive at
    reference_ps + phase_ps + k * period_ps / pulses_per_period (receiver time); jitter_ps: rms about them."""

    period_ps: float
    sigma: float
    significance: float
    phase_ps: float
    reference_ps: int
    jitter_ps: float


def recover_period(
    time_ps: NDArray[np.int64], nominal_period_ps: float, search_ppm: float, *, pulses_per_period: int = 2
) -> PeriodEstimate:
    """Find the slot period in `time_ps` (int64 [n], ascending, ps; one channel, or channels whose delays are removed).

    nominal_period_ps: what the transmitter is set to; search_ppm: half width of the search, > 0 and <= 1000.
    Raises InputOutOfRange for arguments, SynchronisationLost when no line stands out of the noise.
    """
    _check_arguments(time_ps, nominal_period_ps, search_ppm, pulses_per_period)
    origin = int(time_ps[0])
    time = (time_ps[:MAX_TAGS] - origin).astype(np.float64)
    nominal_rate = pulses_per_period / nominal_period_ps  # per ps
    frequency, power, trials = _search(time, nominal_rate, search_ppm * 1e-6 * nominal_rate)
    if power < MIN_POWER + np.log(trials):
        raise SynchronisationLost(
            f"no pulse train near {nominal_period_ps} ps (+-{search_ppm} ppm) in {time.size} tags over "
            f"{time[-1] * 1e-9:.3f} ms: power {power:.1f} of the best line, at least {MIN_POWER + np.log(trials):.1f} "
            "needed; is there light, and is the slot rate the configured one?"
        )
    frequency, phase, jitter, slope_sigma = _fit_line(time, frequency)
    if abs(frequency / nominal_rate - 1) > search_ppm * 1e-6:
        raise SynchronisationLost(
            f"the pulses arrive at {(frequency / nominal_rate - 1) * 1e6:+.2f} ppm from the configured slot rate, "
            f"outside +-{search_ppm} ppm: wrong slot rate, or a reference clock that is not locked"
        )
    spacing = 1.0 / frequency
    return PeriodEstimate(
        period_ps=float(pulses_per_period * spacing),
        sigma=float(pulses_per_period * spacing * slope_sigma),
        significance=float(_power(time, np.array([frequency]))[0]),
        phase_ps=float(phase % spacing),
        reference_ps=origin,
        jitter_ps=jitter,
    )


def _check_arguments(time_ps: NDArray[np.int64], period_ps: float, search_ppm: float, pulses_per_period: int) -> None:
    if time_ps.size < MIN_TAGS:
        raise SynchronisationLost(f"{time_ps.size} tags are too few to find a period, at least {MIN_TAGS} needed")
    if not period_ps > 0 or not 0 < search_ppm <= 1000 or not 1 <= pulses_per_period <= 16:
        raise InputOutOfRange(
            f"period {period_ps} ps (> 0), search {search_ppm} ppm (0..1000], "
            f"pulses per period {pulses_per_period} (1..16)"
        )
    if time_ps[-1] <= time_ps[0]:
        raise InputOutOfRange("tags must ascend and span a time")


def _power(time: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """R^2/M at each frequency (1/ps), in pieces that fit the cache."""
    power = np.empty(frequencies.size)
    step = max(1, 2_000_000 // time.size)
    for start in range(0, frequencies.size, step):
        cycles = np.outer(frequencies[start : start + step], time)
        angle = 2 * np.pi * (cycles - np.rint(cycles))
        power[start : start + step] = (np.cos(angle).sum(1) ** 2 + np.sin(angle).sum(1) ** 2) / time.size
    return power


def _search(time: NDArray[np.float64], centre: float, span: float) -> tuple[float, float, int]:
    """Coarse to fine: (frequency of the best line, its power over all tags, trial frequencies of the coarse scan)."""
    count = _first_count(time, span)
    coarse_trials = 0
    while True:
        step = 1.0 / (OVERSAMPLING * time[count - 1])
        trials = 2 * int(np.ceil(span / step)) + 1
        frequencies = centre + step * (np.arange(trials) - trials // 2)
        power = _power(time[:count], frequencies)
        best = int(power.argmax())
        centre, coarse_trials = float(frequencies[best]), coarse_trials or trials
        if count == time.size:
            return centre, float(power[best]), coarse_trials
        span = 1.0 / time[count - 1]
        count = min(time.size, count * SPAN_GROWTH)


def _first_count(time: NDArray[np.float64], span: float) -> int:
    """How many tags the first scan uses: few enough that MAX_TRIALS frequencies cover the search range."""
    count = min(FIRST_SPAN_TAGS, time.size)
    while 2 * span * OVERSAMPLING * time[count - 1] > MAX_TRIALS:
        count //= 2
        if count < MIN_TAGS:
            raise SynchronisationLost(
                f"{MIN_TAGS} tags last {time[MIN_TAGS - 1] * 1e-9:.1f} ms, too sparse for this search range; "
                "narrow search_ppm or look for more light"
            )
    return count


def _fit_line(time: NDArray[np.float64], frequency: float) -> tuple[float, float, float, float]:
    """Least squares through the unwrapped phases: (frequency, phase ps, jitter ps, relative error of the frequency)."""
    residual = is_near = np.empty(0)
    offset = 0.0
    for _ in range(3):
        spacing = 1.0 / frequency
        cycles = time * frequency
        angle = 2 * np.pi * (cycles - np.rint(cycles))
        centre = np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()) / (2 * np.pi) * spacing
        residual = time - centre
        residual -= spacing * np.rint(residual * frequency)
        is_near = np.abs(residual) < spacing / 4
        slope, intercept = np.polyfit(time[is_near] - time.mean(), residual[is_near], 1)
        frequency *= 1 - slope
        offset = centre + intercept - slope * time.mean()
    kept = time[is_near]
    jitter = float(np.std(residual[is_near]))
    slope_sigma = jitter / (np.std(kept) * np.sqrt(kept.size))
    return frequency, offset, jitter, float(slope_sigma)
