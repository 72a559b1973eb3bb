"""What is in a stream of tags: rates, duration, inter-arrival times, pulse train, anomalies.

One pass, bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.errors import DamagedFile
from drivers.files.pulse_period import BINS, MAX_LAG, PulsePeriod, count_differences, find_period
from drivers.tags import Anomaly, AnomalyKind, TagBatch, TagFlag

MAX_CHANNELS = 64  # channels beyond are counted, not analysed
BINS_PER_DECADE = 10
INTER_ARRIVAL_EDGES_PS = (0.0, *(10.0 ** (k / BINS_PER_DECADE) for k in range(12 * BINS_PER_DECADE + 1)))
"""Edges of the inter-arrival bins: 0, then ten per decade from 1 ps to 1 s. The first bin holds equal times."""


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """One channel. `inter_arrival_counts` [120 + 1]: to the previous click of this channel."""

    channel: int
    clicks: int
    rate_hz: float
    inter_arrival_counts: tuple[int, ...]
    pulse_period: PulsePeriod | None


@dataclass(frozen=True, slots=True)
class TagFileSummary:
    """A whole file. Markers are counted apart and enter no rate or histogram.

    `pulse_period`: the shortest of the channels' periods (a divided trigger channel shows a multiple of it).
    `anomalies`: one per kind, counts added up. `damage`: why reading ended early, empty if it did not.
    """

    clicks: int
    markers: int
    first_ps: int
    last_ps: int
    duration_s: float
    channels: tuple[ChannelSummary, ...]
    inter_arrival_edges_ps: tuple[float, ...]
    inter_arrival_counts: tuple[int, ...]
    pulse_period: PulsePeriod | None
    anomalies: tuple[Anomaly, ...]
    damage: str


def summarise(batches: Iterable[TagBatch]) -> TagFileSummary:
    """Summary of all batches. DamagedFile ends the stream and is reported in `damage`; other errors pass through."""
    tally = _Tally()
    damage = ""
    try:
        for batch in batches:
            tally.add(batch)
    except DamagedFile as error:
        damage = str(error)
    return tally.result(damage)


@dataclass(slots=True)
class _Channel:
    clicks: int = 0
    tail_ps: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    arrivals: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(INTER_ARRIVAL_EDGES_PS) - 1, np.int64))
    differences: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, times_ps: NDArray[np.int64]) -> None:
        joined = np.concatenate((self.tail_ps, times_ps))
        first_new = self.tail_ps.size
        self.clicks += times_ps.size
        self.arrivals += _arrival_counts(joined[max(0, first_new - 1) :])
        count_differences(joined, first_new, self.differences)
        self.tail_ps = joined[-MAX_LAG:]


class _Tally:
    def __init__(self) -> None:
        self.channels: dict[int, _Channel] = {}
        self.counts = np.zeros(256, np.int64)
        self.markers = 0
        self.first_ps: int | None = None
        self.last_ps = 0
        self.previous = np.empty(0, np.int64)
        self.arrivals = np.zeros(len(INTER_ARRIVAL_EDGES_PS) - 1, np.int64)
        self.anomalies: dict[AnomalyKind, Anomaly] = {}

    def add(self, batch: TagBatch) -> None:
        for anomaly in batch.anomalies:
            self._add_anomaly(anomaly)
        is_click = (batch.flags & TagFlag.MARKER) == 0
        time_ps, channel = batch.time_ps[is_click], batch.channel[is_click]
        self.markers += len(batch) - time_ps.size
        if not time_ps.size:
            return
        low, high = int(time_ps.min()), int(time_ps.max())
        self.first_ps = low if self.first_ps is None else min(self.first_ps, low)
        self.last_ps = max(self.last_ps, high)
        self.arrivals += _arrival_counts(np.concatenate((self.previous, time_ps)))
        self.previous = time_ps[-1:]
        self.counts += np.bincount(channel, minlength=256)
        for number in np.unique(channel):
            if int(number) in self.channels or len(self.channels) < MAX_CHANNELS:
                self.channels.setdefault(int(number), _Channel()).add(time_ps[channel == number])

    def _add_anomaly(self, new: Anomaly) -> None:
        old = self.anomalies.get(new.kind)
        count = new.count + (old.count if old else 0)
        self.anomalies[new.kind] = Anomaly(new.kind, old.time_ps if old else new.time_ps, count, new.note)

    def result(self, damage: str) -> TagFileSummary:
        first_ps = self.first_ps or 0
        duration_s = (self.last_ps - first_ps) * 1e-12 if self.first_ps is not None else 0.0
        channels = tuple(self._channel_summary(int(number), duration_s) for number in np.flatnonzero(self.counts))
        periods = [c.pulse_period for c in channels if c.pulse_period is not None]
        return TagFileSummary(
            clicks=int(self.counts.sum()),
            markers=self.markers,
            first_ps=first_ps,
            last_ps=self.last_ps,
            duration_s=duration_s,
            channels=channels,
            inter_arrival_edges_ps=INTER_ARRIVAL_EDGES_PS,
            inter_arrival_counts=_as_tuple(self.arrivals),
            pulse_period=min(periods, key=lambda p: p.period_ps, default=None),
            anomalies=tuple(self.anomalies.values()),
            damage=damage,
        )

    def _channel_summary(self, number: int, duration_s: float) -> ChannelSummary:
        data = self.channels.get(number, _Channel())
        clicks = int(self.counts[number])
        return ChannelSummary(
            channel=number,
            clicks=clicks,
            rate_hz=clicks / duration_s if duration_s > 0 else 0.0,
            inter_arrival_counts=_as_tuple(data.arrivals),
            pulse_period=find_period(data.differences),
        )


def _arrival_counts(times_ps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts [121] of the steps between neighbours; backward steps are left out (they are anomalies)."""
    steps = np.diff(times_ps)
    return np.histogram(steps[steps >= 0], INTER_ARRIVAL_EDGES_PS)[0].astype(np.int64)


def _as_tuple(counts: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(n) for n in counts)
