"""From light to tags, block by block, seamlessly: events, sorting, dark counts, dead time, the tagger's clock."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim_instruments.emission import Emission
from sim_instruments.model import CHANNELS, BenchModel
from sim_instruments.optics import Optics
from sim_instruments.physics.clocks import TaggerClock
from sim_instruments.physics.detectors import clicks, fresh_recovery
from sim_instruments.physics.generation import JITTER_LIMIT_SIGMA, Light, Stretch, photo_events, sort_nearly_sorted
from sim_instruments.physics.receiver import OUTCOME_CHANNEL, OUTCOME_DELAY_BINS, OUTCOMES
from sim_instruments.physics.symbols import ROWS
from sim_instruments.truth import jitter_sigma_ps

Arrival = tuple[Emission, float, float]  # whose light, from slot coordinate, to slot coordinate


class TagStream:
    """Keeps what passes from one block to the next: detectors' recovery, events too late to be final, the clock.

    Blocks follow one another without gap; the time inside a block counts from its start. Events within the last few
    ns of a block are held back, because earlier ones may still come in the next.
    """

    def __init__(self, bench: BenchModel, seed: np.random.SeedSequence) -> None:
        self.clock = TaggerClock(bench.clock)
        self._bench = bench
        self._rng = np.random.default_rng(seed)
        self._recovery = fresh_recovery(bench.detectors)
        self._held_time_ps = np.empty(0)
        self._held_channel = np.empty(0, dtype=np.uint8)
        self._last_tag_ps = 0
        skew = np.array(bench.detectors.delay_skew_ps)
        self._sigma_ps = jitter_sigma_ps(bench)[OUTCOME_CHANNEL - 1]
        self._delay_ps = OUTCOME_DELAY_BINS * bench.source.pulse_separation_ps + skew[OUTCOME_CHANNEL - 1]
        early_ps = max(0.0, -float(skew.min())) + JITTER_LIMIT_SIGMA * float(self._sigma_ps.max())
        self._margin_ps = bench.source.slot_ps + early_ps

    def light(self, optics: Optics, eve_key: np.uint64, eve_fraction: float) -> Light:
        """Tables of the kernel for these optics."""
        cumulative = np.ascontiguousarray(np.cumsum(optics.events.reshape(ROWS, OUTCOMES), axis=1))
        envelope = float(cumulative[:, -1].max())
        return Light(
            cumulative, envelope, self._delay_ps, self._sigma_ps, OUTCOME_CHANNEL, eve_key, float(eve_fraction)
        )

    def restart_tagger(self) -> None:
        """The tagger's time 0 is the start of the next block; clicks held back from before are lost."""
        self.clock.restart()
        self._held_time_ps, self._held_channel = np.empty(0), np.empty(0, dtype=np.uint8)
        self._last_tag_ps = 0

    def block(
        self, duration_ps: int, arrivals: list[Arrival], light: Light, dark_hz: NDArray[np.float64], start_ps: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Tags of the next `duration_ps`, int64 [n] ps of the tagger's clock and uint8 [n] channels.

        start_ps: transmitter's time at the start of the block. dark_hz: float64 [CHANNELS].
        """
        time_ps, channel = self._events(duration_ps, arrivals, light, start_ps)
        time_ps, channel = self._with_darks(time_ps, channel, dark_hz, duration_ps)
        out_time = np.empty(2 * time_ps.size + CHANNELS)
        out_channel = np.empty(out_time.size, dtype=np.uint8)
        until_ps = duration_ps - self._margin_ps
        used, n = clicks(self._rng, time_ps, channel, until_ps, self._recovery, out_time, out_channel)
        self._held_time_ps, self._held_channel = time_ps[used:] - duration_ps, channel[used:]
        self._recovery.last_ps[:] -= duration_ps
        self._recovery.pending_ps[:] -= duration_ps
        tags = self.clock.read(out_time[:n])
        self.clock.advance(duration_ps)
        return self._in_order(tags, out_channel[:n])

    def _events(
        self, duration_ps: int, arrivals: list[Arrival], light: Light, start_ps: int
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        held = self._held_time_ps.size
        mean = sum(last - first for _, first, last in arrivals) * light.envelope
        time_ps = np.empty(held + int(mean + 12.0 * math.sqrt(mean)) + 64)
        channel = np.empty(time_ps.size, dtype=np.uint8)
        time_ps[:held], channel[:held] = self._held_time_ps, self._held_channel
        n = held
        slot_ps = self._bench.source.slot_ps
        for emission, first, last in arrivals:
            first_slot = math.floor(first)
            lead_ps = round(emission.origin_ps - start_ps) + self._bench.channel.delay_ps
            stretch = Stretch(
                first_slot, first - first_slot, last - first_slot, lead_ps + first_slot * slot_ps, slot_ps
            )
            n = photo_events(self._rng, stretch, emission.law, light, time_ps, channel, n)
            if n < 0:
                raise RuntimeError(
                    f"more photo-events than 12 standard deviations above {mean:.0f} in {duration_ps} ps"
                )
        sort_nearly_sorted(time_ps, channel, n)
        return time_ps[:n], channel[:n]

    def _with_darks(
        self, time_ps: NDArray[np.float64], channel: NDArray[np.uint8], dark_hz: NDArray[np.float64], duration_ps: int
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Merge dark counts of [0, duration_ps) in."""
        counts = self._rng.poisson(dark_hz * duration_ps * 1e-12)
        dark_ps = self._rng.random(int(counts.sum())) * duration_ps
        order = np.argsort(dark_ps)
        dark_channel = np.repeat(np.arange(1, CHANNELS + 1, dtype=np.uint8), counts)[order]
        where = np.searchsorted(time_ps, dark_ps[order])
        return np.insert(time_ps, where, dark_ps[order]), np.insert(channel, where, dark_channel)

    def _in_order(
        self, tags: NDArray[np.int64], channel: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Without what would lie before the last tag given out: after a step back the tagger is blind until its time
        has caught up."""
        first = int(np.searchsorted(tags, self._last_tag_ps))
        tags, channel = tags[first:], channel[first:]
        if tags.size:
            self._last_tag_ps = int(tags[-1])
        return tags, channel
