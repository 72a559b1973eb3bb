"""Two stations that share photon pairs (numpy, seeded): pair source, losses, background, jitter, two clocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairLink:
    """Rates in Hz. B's clock shows t + offset_ps + relative_frequency * t at A's time t."""

    pair_rate_hz: float = 2e5
    efficiency_a: float = 0.1
    efficiency_b: float = 0.05
    background_hz: float = 2_000.0
    jitter_sigma_ps: float = 120.0
    offset_ps: float = 0.0
    relative_frequency: float = 0.0


def pair_tags(
    rng: np.random.Generator, link: PairLink, seconds: float, wander: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tags of both stations, int64 ascending; each records from its own zero on. wander: random walk of B's relative
    frequency per square root of a second."""
    span = seconds * 1e12
    lead = abs(link.offset_ps) + 1e9
    count = rng.poisson(link.pair_rate_hz * (span + 2 * lead) * 1e-12)
    pairs = np.sort(rng.random(count)) * (span + 2 * lead) - lead
    stations = []
    for efficiency in (link.efficiency_a, link.efficiency_b):
        clicks = pairs[rng.random(count) < efficiency]
        dark = rng.random(rng.poisson(link.background_hz * (span + 2 * lead) * 1e-12)) * (span + 2 * lead) - lead
        stations.append(np.concatenate([clicks, dark]))
    a, b = (time + rng.normal(0, link.jitter_sigma_ps, time.size) for time in stations)
    steps = np.cumsum(rng.normal(0, wander * np.sqrt(1e-3), int(seconds * 1000) + 1)) * 1e9
    walk = np.interp(b, 1e9 * np.arange(steps.size), np.cumsum(steps))
    b = b + link.offset_ps + link.relative_frequency * b + walk
    return tuple(np.sort(np.rint(time[(time >= 0) & (time < span)])).astype(np.int64) for time in (a, b))  # type: ignore[return-value]
