"""Speed of gating, tracking, and of finding period and offset: `python -m benchmarks.timing`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.frequency import recover_period
from postproc.timing.gating import GatingState, assign_slots, detections, gate_table
from postproc.timing.offset import find_offset
from postproc.timing.tracking import ClockTracker
from tests.postproc.timing.light import Light, gates, random_symbols, tags_of

DELAYS = {2: 310.0, 3: -170.0}
BATCH = 50_000


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """CPU seconds of the fastest repetition (one thread)."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    """Print the figures, one core."""
    rng = np.random.default_rng(1)
    model, slots, start = Light(eta_mu=0.04), 40_000_000, 1e9
    symbols = random_symbols(rng, slots)
    tags, channel = tags_of(rng, symbols, model, start, start + slots * 1600.01)
    lit = int(np.searchsorted(tags, start))
    table = gate_table(gates(), DELAYS)
    entropy = np.zeros(entropy_bytes_needed(BATCH), np.uint8)
    sent_period = 1600 * (1 + model.relative_offset)
    print(f"{tags.size} tags at {tags.size / slots / 1.6e-3:.1f} Mclick/s of light")

    def gate_all() -> None:
        tracker = ClockTracker(start, sent_period, gates())
        segment = tracker.feed(tags[lit : lit + BATCH], channel[lit : lit + BATCH], int(tags[lit + BATCH]))[0]
        state = GatingState()
        for at in range(lit, tags.size - BATCH, BATCH):
            part = slice(at, at + BATCH)
            _, state = detections(
                assign_slots(tags[part], channel[part], segment, table),
                state,
                complete_until_ps=int(tags[at + BATCH]) - 310,
                complete_below_slot=0,
                common_dead_time_ps=25_000,
                entropy=entropy,
            )

    def stream_all() -> None:
        tracker = ClockTracker(start, sent_period, gates())
        collector = BlockCollector(0, 10**7, gates=gates(), common_dead_time_ps=25_000, channel_delays_ps=DELAYS)
        for at in range(lit, tags.size - BATCH, BATCH):
            time_ps, chan = tags[at : at + BATCH], channel[at : at + BATCH]
            for segment in tracker.feed(time_ps, chan, int(tags[at + BATCH])):
                part = slice(segment.start, segment.stop)
                collector.feed(time_ps[part], chan[part], segment, entropy)
            collector.finished()

    gate_all()
    print(f"slot assignment and gating      {tags.size / best_of(9, gate_all) / 1e6:6.1f} Mtag/s")
    print(f"with tracking, blocks collected {tags.size / best_of(3, stream_all) / 1e6:6.1f} Mtag/s")
    on_key = tags[lit:][channel[lit:] == 1][:100_000]
    print(f"period from 10^5 tags           {best_of(3, lambda: recover_period(on_key, 1600.0, 10.0)):6.3f} s")
    for length in (1 << 17, 1 << 19):
        seconds = best_of(
            3,
            lambda length=length: find_offset(
                tags, channel, symbols[:length], onset_ps=int(start), period_ps=sent_period, gates=gates()
            ),
        )
        print(f"offset, string of {length:7d} slots  {seconds:6.3f} s")


if __name__ == "__main__":
    main()
