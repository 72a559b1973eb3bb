"""Phase of the receiver's interferometer against the transmitter's, by its actuator (physics.md §5, routine 11).

One state of the test basis is sent; the actuator is swept over more than one fringe; the contrast c = (n0 - n1) / (n0
+ n1) between the two outputs follows (V/2) cos(2 pi (v - v0) / period) + imbalance. Only half of the light interferes
(the central time bin), the other half is in both outputs alike, hence V/2. A fit gives the visibility V and the
voltage v0 of the maximum, where the error ratio of the test basis is least: (1 - V) / 2. Dead time at high rates
flattens the fringe by some percent; the limits leave room for that.
"""

from __future__ import annotations

import time

import numpy as np

from controller.calibration.result import CalibrationResult, Check
from controller.config import CalibrationSection

ROUTINE = "interferometer-phase"
PATTERN = np.array([2], np.uint8)  # X0, intensity class signal
RANGE_V = (-5.0, 5.0)
POINTS = 17
MIN_VISIBILITY = 0.85
INTERFERING_SHARE = 0.5


class PhaseSweep:
    """Collects the sweep, then fits it."""

    def __init__(self, limits: CalibrationSection) -> None:
        self.voltages_v = tuple(float(v) for v in np.linspace(*RANGE_V, POINTS))
        self._limits = limits
        self._points: list[tuple[float, float, float]] = []

    def add(self, voltage_v: float, counts_0: float, counts_1: float) -> None:
        """Clicks of the two outputs at one voltage."""
        self._points.append((voltage_v, counts_0, counts_1))

    def result(self, serials: dict[str, str]) -> CalibrationResult:
        """Fit and judge."""
        voltage, zero, one = (np.array(column) for column in zip(*self._points, strict=True))
        total = zero + one
        contrast = (zero - one) / np.maximum(total, 1.0)
        sigma = 1.0 / np.sqrt(np.maximum(total, 1.0))
        best_v, amplitude, period_v, rms = fit_fringe(voltage, contrast)
        visibility = amplitude / INTERFERING_SHARE
        return CalibrationResult(
            routine=ROUTINE,
            time_unix_s=time.time(),
            validity_s=self._limits.validity_s,
            checks=(
                Check("visibility", visibility, float(np.mean(sigma)), MIN_VISIBILITY, 1.1, ""),
                Check("rms of the fit", rms, 0.0, 0.0, max(0.03, 5 * float(np.mean(sigma))), ""),
            ),
            values={"phase_bias_v": best_v, "visibility": visibility, "period_v": period_v},
            series={"voltage_v": voltage.tolist(), "contrast": contrast.tolist()},
            instruments=serials,
        )


def fit_fringe(voltage_v: np.ndarray, contrast: np.ndarray) -> tuple[float, float, float, float]:
    """(voltage of the maximum nearest 0, amplitude, fringe period in volts, rms residual) of a sampled cosine.

    Linear least squares for amplitude, phase and a constant at each trial period, the best period refined by a
    second, finer scan.
    """
    span = float(voltage_v.max() - voltage_v.min())
    trials = np.geomspace(span / 6, span * 3, 400)
    for _ in range(2):
        fits = [_fit_at(voltage_v, contrast, period) for period in trials]
        best = int(np.argmin([residual for _, residual in fits]))
        trials = np.linspace(trials[max(0, best - 1)], trials[min(trials.size - 1, best + 1)], 200)
    periods = trials
    fits = [_fit_at(voltage_v, contrast, period) for period in periods]
    best = int(np.argmin([residual for _, residual in fits]))
    (cosine, sine), residual = fits[best]
    period = float(periods[best])
    position = np.arctan2(sine, cosine) / (2 * np.pi) * period
    position -= period * np.rint(position / period)
    return float(position), float(np.hypot(cosine, sine)), period, float(np.sqrt(residual / voltage_v.size))


def _fit_at(voltage_v: np.ndarray, contrast: np.ndarray, period_v: float) -> tuple[tuple[float, float], float]:
    angle = 2 * np.pi * voltage_v / period_v
    design = np.stack([np.cos(angle), np.sin(angle), np.ones(angle.size)], axis=1)
    solution, *_ = np.linalg.lstsq(design, contrast, rcond=None)
    residual = float(np.sum((design @ solution - contrast) ** 2))
    return (float(solution[0]), float(solution[1])), residual
