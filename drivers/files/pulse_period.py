"""Is there a pulse train behind the clicks? Rayleigh periodogram of the time differences on one detector.

Differences, not times: over seconds the laser and the tagger drift apart and the phase is lost; over WINDOW_PS it is
not. The differences of each tag to at most MAX_LAG earlier ones of its channel are counted in bins of BIN_PS. With
counts h_j at differences x_j and a Hann taper w_j (it keeps dead time and the edge of the window from leaking into the
search range)

    F(f) = sum_j w_j h_j exp(2 pi i f x_j),   Z = |F|^2 / sum_j w_j^2 h_j,   R = |F| / sum_j w_j h_j.

Without a train Z is exponential with mean 1 (Rayleigh test; Mardia and Jupp, Directional Statistics, 2000, 6.3), so
the chance that any of M independent frequencies passes Z is below M exp(-Z). R is the vector strength: 1 for a perfect
comb. All harmonics of a comb stand out; the period reported belongs to the lowest frequency whose R is near the
largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

BIN_PS = 50
WINDOW_PS = 10_000_000
BINS = WINDOW_PS // BIN_PS
MAX_LAG = 16
SHORTEST_PERIOD_PS = 500.0
LONGEST_PERIOD_PS = 1_000_000.0
MAX_FALSE_ALARM = 1e-9
MIN_VECTOR_STRENGTH = 0.05
_MIN_PAIRS = 100
_MIN_PERIODS_IN_SPAN = 10.0
_NEAR_LARGEST = 0.7
_PADDED = 1 << 20
_TRAIN_PERIODS = 12
_TRAIN_BINS_PER_PERIOD = 32


@dataclass(frozen=True, slots=True)
class PulsePeriod:
    """A pulse train. `false_alarm_probability`: of a Z this large anywhere in the search without a train.

    train_counts: differences from 0 to 12 periods in bins of train_bin_ps, so that the comb can be seen.
    """

    period_ps: float
    uncertainty_ps: float
    vector_strength: float
    rayleigh_power: float
    false_alarm_probability: float
    pairs: int
    train_bin_ps: float
    train_counts: tuple[int, ...]


@njit(nogil=True, cache=True)
def count_differences(times_ps: NDArray[np.int64], first_new: int, counts: NDArray[np.int64]) -> None:
    """Add to counts [BINS] the differences of times_ps[first_new:] to their MAX_LAG predecessors, unless negative."""
    for i in range(first_new, times_ps.size):
        for lag in range(1, min(MAX_LAG, i) + 1):
            difference = times_ps[i] - times_ps[i - lag]
            if difference >= WINDOW_PS:
                break
            if difference > 0:
                counts[difference // BIN_PS] += 1


def find_period(counts: NDArray[np.int64]) -> PulsePeriod | None:
    """The pulse period behind counts [BINS] of `count_differences`, None if there is none that is significant."""
    pairs = int(counts.sum())
    if pairs < _MIN_PAIRS:
        return None
    x_ps = np.flatnonzero(counts).astype(np.float64) * BIN_PS + 0.5 * BIN_PS
    h = counts[counts > 0].astype(np.float64)
    w = np.sin(np.pi * x_ps / WINDOW_PS) ** 2
    span_ps = np.sqrt(12.0 * np.cov(x_ps, aweights=w * h)) if x_ps.size > 1 else 0.0
    if span_ps <= 0.0:
        return None
    frequency, power, strength = _periodogram(counts, w, h, float(span_ps))
    chosen = _lowest_line(power, strength, independent=float(span_ps) / SHORTEST_PERIOD_PS)
    if chosen is None:
        return None
    best, deviation = _refine(float(frequency[chosen]), x_ps, w * h)
    f_sum = np.abs(np.sum(w * h * np.exp(2j * np.pi * best * x_ps)))
    z = float(f_sum**2 / np.sum(w**2 * h))
    return PulsePeriod(
        period_ps=1.0 / best,
        uncertainty_ps=deviation / best**2,
        vector_strength=float(f_sum / np.sum(w * h)),
        rayleigh_power=z,
        false_alarm_probability=float(min(1.0, span_ps / SHORTEST_PERIOD_PS * np.exp(-z))),
        pairs=pairs,
        train_bin_ps=1.0 / best / _TRAIN_BINS_PER_PERIOD,
        train_counts=_train(x_ps, h, 1.0 / best),
    )


def _periodogram(
    counts: NDArray[np.int64], w: NDArray[np.float64], h: NDArray[np.float64], span_ps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(frequency in 1/ps, Z, R) over the search range."""
    tapered = np.zeros(BINS)
    tapered[counts > 0] = w * h
    spectrum = np.abs(np.fft.rfft(tapered, _PADDED))
    frequency = np.arange(spectrum.size) / (_PADDED * BIN_PS)
    lowest = max(1.0 / LONGEST_PERIOD_PS, _MIN_PERIODS_IN_SPAN / span_ps)
    use = (frequency >= lowest) & (frequency <= 1.0 / SHORTEST_PERIOD_PS)
    return frequency[use], spectrum[use] ** 2 / np.sum(w**2 * h), spectrum[use] / np.sum(w * h)


def _lowest_line(power: NDArray[np.float64], strength: NDArray[np.float64], *, independent: float) -> int | None:
    """Index of the lowest local maximum of R that is significant and near the largest R."""
    if strength.size < 3:
        return None
    enough = max(MIN_VECTOR_STRENGTH, _NEAR_LARGEST * float(strength.max()))
    is_peak = (strength[1:-1] >= strength[:-2]) & (strength[1:-1] > strength[2:])
    is_line = is_peak & (strength[1:-1] >= enough) & (independent * np.exp(-power[1:-1]) < MAX_FALSE_ALARM)
    return int(np.argmax(is_line)) + 1 if is_line.any() else None


def _refine(frequency: float, x_ps: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Straight line through the residual phases, three times: (frequency, its standard deviation), both in 1/ps."""
    total = weight.sum()
    centred = x_ps - np.sum(weight * x_ps) / total
    moment = float(np.sum(weight * centred**2))
    residual = np.zeros_like(x_ps)
    for _ in range(3):
        phasor = np.exp(2j * np.pi * frequency * centred)
        residual = np.angle(phasor * np.conj(np.sum(weight * phasor))) / (2.0 * np.pi)
        frequency -= float(np.sum(weight * centred * residual)) / moment
    return frequency, float(np.sqrt(np.sum(weight**2 * (centred * residual) ** 2))) / moment


def _train(x_ps: NDArray[np.float64], h: NDArray[np.float64], period_ps: float) -> tuple[int, ...]:
    edges = np.arange(_TRAIN_PERIODS * _TRAIN_BINS_PER_PERIOD + 1) * period_ps / _TRAIN_BINS_PER_PERIOD
    return tuple(int(n) for n in np.histogram(x_ps, edges, weights=h)[0])
