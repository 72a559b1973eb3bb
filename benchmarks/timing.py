"""Time tags, sifting, synchronisation: `python -m benchmarks.timing [--json] [--trials N]`.

CPU time of one thread, best of several repetitions; numpy and scipy baselines run on the same tags. Rates of two-stream
rows count the tags of both streams. Every row says which light it was measured on: the demonstration's link (10 dB, in
batches as they come), or an artificial stream. With --json the last line is one JSON object with `rows`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from postproc.errors import SynchronisationLost
from postproc.records import Detections
from postproc.sifting import AliceReveal, sift_bob
from postproc.symbols import split_symbols
from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.clock import ClockSegment
from postproc.timing.coincidences import CoincidenceStream
from postproc.timing.cross_correlation import CrossCorrelation
from postproc.timing.frequency import recover_period
from postproc.timing.gate_table import gate_table
from postproc.timing.gating import DetectionChunk, GatingState, assign_slots, detections
from postproc.timing.pair_sync import synchronise_pairs
from postproc.timing.qubit_sync import string_slots_needed, synchronise
from postproc.timing.tracking import ClockTracker
from tests.postproc.timing.light import Light, gates, random_symbols, tags_of
from tests.postproc.timing.pair_light import PairLink, pair_tags
from tests.postproc.timing.sparse_light import SparseLight, sparse_tags, symbols_of

DELAYS = {2: 310.0, 3: -170.0}
BATCH = 200_000
DEAD_SLOTS = 15
SECOND_PS = 10**12


@dataclass(frozen=True)
class Row:
    """One figure. What does not apply is None."""

    what: str
    light: str
    mtags_s: float | None = None
    cpu_s: float | None = None
    loss_db: float | None = None
    ppm: float | None = None
    success: str | None = None
    worst_error_ps: float | None = None

    def __str__(self) -> str:
        values = {name: value for name, value in asdict(self).items() if value is not None}
        what, light = values.pop("what"), values.pop("light")
        shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        return f"{what:44s} {light:44s} {shown}"


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """CPU seconds of this thread in the fastest repetition, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return min(times)


# ---- sift


def demo_light() -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8], float, str]:
    """(tags, channels, symbols, slot zero, name) of the demonstration's link."""
    rng = np.random.default_rng(1)
    slots, start = 40_000_000, 1e9
    symbols = random_symbols(rng, slots)
    tags, channel = tags_of(rng, symbols, Light(eta_mu=0.04), start, start + slots * 1600.01)
    lit = slice(int(np.searchsorted(tags, start)), None)
    return tags[lit], channel[lit], symbols, start, f"demo link, {tags.size / slots / 1.6e-3:.1f} Mclick/s"


def weak_light() -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8], float, str]:
    """The same 20 dB weaker: no dead time, few clicks per slot."""
    model = SparseLight(4e-4)
    slots = 5_000_000_000
    tags, channel = sparse_tags(np.random.default_rng(2), model, 2, 0, slots, 1e9)
    return tags, channel, symbols_of(np.arange(0), 2), 1e9, "artificial link, 0.25 Mclick/s"


def gated(
    tags: NDArray[np.int64], channel: NDArray[np.uint8], clock: ClockSegment, take: Callable[[DetectionChunk], object]
) -> None:
    """Gates a stream in batches; each batch of detections is handed to `take` and forgotten."""
    table, entropy = gate_table(gates(), clock.period_ps, DELAYS), np.zeros(entropy_bytes_needed(BATCH), np.uint8)
    state = GatingState()
    for at in range(0, tags.size, BATCH):
        clicks = assign_slots(tags[at : at + BATCH], channel[at : at + BATCH], clock, table)
        chunk, state = detections(
            clicks, state, complete_below=int(clicks[-1] >> 8) - 1, dead_slots=DEAD_SLOTS, entropy=entropy
        )
        take(chunk)


def len_of(chunk: DetectionChunk) -> int:
    return chunk.slot.size


def gated_by_numpy(
    tags: NDArray[np.int64], channel: NDArray[np.uint8], clock: ClockSegment
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """What one writes in numpy: slots and outcomes of gated clicks, the dead time between slots, and no double
    clicks."""
    slots, outcomes = [], []
    for number, gate in enumerate(gates()):
        mine = tags[channel == gate.channel]
        since = (mine - clock.anchor_ps).astype(np.float64) - gate.start_ps
        slot = np.floor(since / clock.period_ps)
        inside = since - slot * clock.period_ps < gate.width_ps
        slots.append(slot[inside].astype(np.int64))
        outcomes.append(np.full(int(inside.sum()), number, np.uint8))
    slot, outcome = np.concatenate(slots), np.concatenate(outcomes)
    order = np.argsort(slot, kind="stable")
    slot, outcome = slot[order], outcome[order]
    live = np.diff(slot, prepend=-DEAD_SLOTS - 1) > DEAD_SLOTS
    return slot[live], outcome[live]


def sift_rows() -> Iterator[Row]:
    """Gating, basis sift, and the whole stream with tracking and blocks."""
    tags, channel, symbols, start, light = demo_light()
    clock = ClockSegment(0, int(start), 0.0, 1600 * (1 + Light().relative_offset))
    chunks: list[DetectionChunk] = []
    gated(tags, channel, clock, chunks.append)
    blocks = [Detections(int(c.slot[0]), int(c.slot[-1] - c.slot[0]) + 1, c.slot, c.basis, c.bit) for c in chunks]
    reveals = []
    for block in blocks:
        alice_basis, _, intensity = split_symbols(symbols[np.minimum(block.slot, symbols.size - 1)])
        reveals.append(AliceReveal(alice_basis, intensity, np.empty(0, np.uint8)))

    def gate_and_sift() -> None:
        reveal = iter(reveals)
        gated(tags, channel, clock, lambda c: sift_bob(Detections(0, 0, c.slot, c.basis, c.bit), next(reveal)))

    def sift() -> None:
        for block, reveal in zip(blocks, reveals, strict=True):
            sift_bob(block, reveal)

    both_s = best_of(9, gate_and_sift)
    gate_s = best_of(9, lambda: gated(tags, channel, clock, len_of))
    sift_s = best_of(9, sift)
    numpy_s = best_of(3, lambda: gated_by_numpy(tags, channel, clock))

    def stream() -> None:
        tracker = ClockTracker(start, clock.period_ps, gates())
        collector = BlockCollector(0, 10**7, gates=gates(), common_dead_time_ps=24_000, channel_delays_ps=DELAYS)
        entropy = np.zeros(entropy_bytes_needed(BATCH), np.uint8)
        for at in range(0, tags.size - BATCH, BATCH):
            time_ps, chan = tags[at : at + BATCH], channel[at : at + BATCH]
            for segment in tracker.feed(time_ps, chan, int(tags[at + BATCH])):
                part = slice(segment.start, segment.stop)
                collector.feed(time_ps[part], chan[part], segment, entropy)
            collector.finished()

    stream_s = best_of(5, stream)
    yield Row("gate + basis sift (double clicks, dead time)", light, tags.size / both_s / 1e6)
    yield Row("  gate alone", light, tags.size / gate_s / 1e6)
    yield Row("  basis sift alone, per tag", light, tags.size / sift_s / 1e6)
    yield Row("  gate alone, numpy, no double clicks", light, tags.size / numpy_s / 1e6)
    yield Row("tracking + gating + blocks, streaming", light, tags.size / stream_s / 1e6)
    tags, channel, _, start, light = weak_light()
    clock = ClockSegment(0, int(start), 0.0, 1600.0)
    yield Row("gate alone", light, tags.size / best_of(7, lambda: gated(tags, channel, clock, len_of)) / 1e6)


# ---- two streams


def pair_streams(link: PairLink, seconds: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    a, b = pair_tags(np.random.default_rng(seed), link, seconds)
    return a, b, f"pairs, {a.size / seconds / 1e6:.2f} and {b.size / seconds / 1e6:.2f} Mclick/s"


def in_batches(a: NDArray[np.int64], b: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64], int]]:
    """Both streams cut at the same times, some 10^5 tags each piece."""
    edges = np.linspace(0, max(int(a[-1]), int(b[-1])) + 1, max(2, (a.size + b.size) // 100_000)).astype(np.int64)
    cuts = zip(np.searchsorted(a, edges), np.searchsorted(b, edges), edges, strict=True)
    pieces, (at_a, at_b, _) = [], next(cuts)
    for end_a, end_b, edge in cuts:
        pieces.append((a[at_a:end_a], b[at_b:end_b], int(edge)))
        at_a, at_b = end_a, end_b
    return pieces


def pair_rows() -> Iterator[Row]:
    """Coincidences and cross-correlation histograms, streaming, and baselines in numpy."""
    links = (
        (PairLink(), 20.0),
        (PairLink(pair_rate_hz=4e6, efficiency_a=0.5, efficiency_b=0.5, background_hz=1e4), 0.7),
    )
    for link, seconds in links:
        a, b, light = pair_streams(link, seconds, 3)
        both, pieces = a.size + b.size, in_batches(a, b)
        channels = [(np.ones(x.size, np.uint8), np.ones(y.size, np.uint8)) for x, y, _ in pieces]

        def coincide(pieces=pieces, channels=channels) -> None:  # type: ignore[no-untyped-def]
            stream = CoincidenceStream(1000)
            for (x, y, _), (cx, cy) in zip(pieces, channels, strict=True):
                stream.feed(x, cx, y, cy)

        def correlate(pieces=pieces) -> None:  # type: ignore[no-untyped-def]
            histogram = CrossCorrelation(-50_000, 100, 1000)
            for x, y, until in pieces:
                histogram.feed(x, y, until)

        def coincide_numpy(a=a, b=b) -> NDArray[np.bool_]:  # type: ignore[no-untyped-def]
            return np.searchsorted(b, a + 500, side="right") > np.searchsorted(b, a - 500)

        def correlate_numpy(a=a, b=b) -> NDArray[np.int64]:  # type: ignore[no-untyped-def]
            """The cumulative counts of pycorrelate: one search per bin edge."""
            edges = np.arange(-50_000, 50_001, 100)
            return np.diff([np.searchsorted(b, a[:20_000] + edge).sum() for edge in edges])

        yield Row("coincidences, 1 ns, streaming", light, both / best_of(7, coincide) / 1e6)
        yield Row("  numpy searchsorted, whole", light, both / best_of(2, coincide_numpy) / 1e6)
        yield Row("cross-correlation, 1000 bins of 100 ps", light, both / best_of(7, correlate) / 1e6)
        share = 20_000 / a.size
        yield Row("  numpy, a search per bin edge", light, both * share / best_of(1, correlate_numpy) / 1e6)


# ---- synchronisation


def qubit_row(loss_db: float, trials: int) -> Row:
    """Offset anywhere in 1 s, frequency in +-10 ppm, both ends of the range included; detectors of 20 %."""
    errors, seconds, lost = [], [], 0
    for trial in range(trials):
        rng = np.random.default_rng([round(loss_db), trial])
        ppm = (10.0, -10.0)[trial] if trial < 2 else float(rng.uniform(-10, 10))
        light = SparseLight(0.5 * 0.79 * 0.2 * 10 ** (-loss_db / 10), relative_offset=ppm * 1e-6)
        length = string_slots_needed(light.key_clicks_per_slot, noise_share=light.noise_share)
        first, start = -int(rng.uniform(0, 625e6)), float(rng.uniform(-SECOND_PS, SECOND_PS))
        tags, channel = sparse_tags(rng, light, trial, first, 625_000_000 + 10_000_000 + length, start)
        string = symbols_of(np.arange(length), trial)
        begin = time.thread_time()
        try:
            found = synchronise(
                tags, channel, string, nominal_period_ps=1600.0, search_ppm=10.5, gates=gates(),
                channel_delays_ps=DELAYS,
            )  # fmt: skip
            errors.append(abs(found.slot_zero_time_ps - start))
        except SynchronisationLost:
            lost += 1
        seconds.append(time.thread_time() - begin)
    right = sum(error < 100 for error in errors)
    return Row(
        f"synchronise, string of {length:.3g} slots", f"weak pulses, {tags.size} tags", None, float(np.mean(seconds)),
        loss_db, 10.0, f"{right}/{trials}, wrong {len(errors) - right}, refused {lost}", max(errors, default=None),
    )  # fmt: skip


def pairs_row(efficiency_b: float, trials: int) -> Row:
    """Offset in +-1 s, frequency in +-10 ppm, from 6 s of both streams."""
    errors, seconds, lost, sizes = [], [], 0, (0, 0)
    for trial in range(trials):
        rng = np.random.default_rng([17, trial])
        y = (1e-5, -1e-5)[trial] if trial < 2 else float(rng.uniform(-1e-5, 1e-5))
        link = PairLink(efficiency_b=efficiency_b, offset_ps=rng.uniform(-1, 1) * SECOND_PS, relative_frequency=y)
        a, b = pair_tags(rng, link, 6.0)
        sizes = a.size, b.size
        begin = time.thread_time()
        try:
            found = synchronise_pairs(a, b, max_offset_ps=SECOND_PS, max_frequency=1e-5, jitter_ps=400).relation
            errors.append(abs(found.offset_ps - link.offset_ps - y * found.origin_ps))
        except SynchronisationLost:
            lost += 1
        seconds.append(time.thread_time() - begin)
    right = sum(error < 400 for error in errors)
    return Row(
        "synchronise pairs", f"pairs, {sizes[0]} and {sizes[1]} tags", None, float(np.mean(seconds)),
        -10 * float(np.log10(0.1 * efficiency_b)), 10.0,
        f"{right}/{trials}, wrong {len(errors) - right}, refused {lost}", max(errors, default=None),
    )  # fmt: skip


def sync_rows(trials: int) -> Iterator[Row]:
    """Period, offset from qubits, clock relation from pairs."""
    tags, channel, _, _, light = demo_light()
    key = tags[channel == 1][:100_000]
    yield Row("period from 10^5 tags", light, None, best_of(3, lambda: recover_period(key, 1600.0, 10.0)), None, 10.0)
    for loss_db in (20.0, 30.0, 40.0):
        yield qubit_row(loss_db, trials)
    for efficiency_b in (0.05, 0.01):
        yield pairs_row(efficiency_b, trials)


def main() -> None:
    """Print the figures of one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=4, help="synchronisations per row, 0: none")
    options = parser.parse_args()
    rows = []
    for part in (sift_rows(), pair_rows(), sync_rows(options.trials) if options.trials else iter(())):
        for row in part:
            rows.append(row)
            print(row, flush=True)
    if options.json:
        print(json.dumps({"bench": "timing", "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
