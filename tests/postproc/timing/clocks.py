"""Frequency noise of real oscillators, as a sum of the usual kinds (numpy, seeded). Class values, one clock against a
much better one.

white frequency noise: Allan deviation w/sqrt(tau); flicker: f at all tau, made of Ornstein-Uhlenbeck processes with
correlation times a factor 4 apart; random walk; temperature: a sine of half an hour; ageing: linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter


@dataclass(frozen=True)
class Oscillator:
    """All relative frequencies. white, flicker: Allan deviation at 1 s; walk: per sqrt(s); temperature: amplitude;
    ageing: per day."""

    offset: float
    white: float
    flicker: float
    walk: float
    temperature: float
    ageing: float


TCXO = Oscillator(offset=4e-6, white=1e-10, flicker=4e-10, walk=2e-11, temperature=1e-8, ageing=1e-8)
OCXO = Oscillator(offset=-5e-8, white=3e-12, flicker=5e-12, walk=2e-13, temperature=1e-10, ageing=1e-9)
RUBIDIUM_CLOCK = Oscillator(offset=5e-11, white=3e-11, flicker=1e-13, walk=1e-15, temperature=1e-12, ageing=1e-12)


def frequencies(rng: np.random.Generator, oscillator: Oscillator, steps: int, step_s: float) -> NDArray[np.float64]:
    """Mean relative frequency in each step, float64 [steps]."""
    time = step_s * np.arange(steps)
    y = oscillator.offset + oscillator.ageing * time / 86_400 + oscillator.temperature * np.sin(2 * np.pi * time / 1800)
    y += rng.normal(0, oscillator.white / np.sqrt(step_s), steps)
    y += np.cumsum(rng.normal(0, oscillator.walk * np.sqrt(step_s), steps))
    correlation_s = step_s * 4.0 ** np.arange(10)
    for tau in correlation_s:  # each adds about the same Allan deviation around its own correlation time
        keep = np.exp(-step_s / tau)
        kicks = rng.normal(0, oscillator.flicker * np.sqrt(1 - keep**2), steps)
        y += lfilter([1.0], [1.0, -keep], kicks)
    return y


def allan_deviation(y: NDArray[np.float64], average: int) -> float:
    """Non-overlapping, over `average` steps."""
    means = y[: y.size // average * average].reshape(-1, average).mean(axis=1)
    return float(np.sqrt(0.5 * np.mean(np.diff(means) ** 2)))
