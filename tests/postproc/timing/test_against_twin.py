"""The whole receiver on the tags of the simulated bench: another model, with a free-running clock and dead times."""

from __future__ import annotations

import numpy as np
import pytest

from postproc.symbols import split_symbols
from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.delay_scan import DELAY_PATTERN, scan_delays
from postproc.timing.frequency import recover_period
from postproc.timing.offset import find_offset, find_onset
from postproc.timing.tracking import ClockTracker
from tests.sim_instruments.bench import switch_on, world

FREE_RUNNING = {
    "has_shared_10mhz": False,
    "frequency_offset_ppm": -4.0,
    "frequency_walk_per_sqrt_s": 1e-9,
    "phase_walk_ps_per_sqrt_s": 5.0,
}
SYNC_SLOTS = 1 << 18
BLOCK_SLOTS = 20_000_000


def test_delay_scan_period_offset_and_gating_reproduce_the_twins_errors() -> None:
    w = world({"clock": FREE_RUNNING}, seed=3)
    switch_on(w)
    w.start_tagger()
    w.set_pattern(DELAY_PATTERN)
    tags, channel = w.generate(20_000_000_000)
    scan_period = recover_period(tags[channel == 1], 1600.0, 10.0).period_ps
    scan = scan_delays(tags, channel, scan_period, key_channel=1, test_channels=(2, 3))
    skew = w.bench.detectors.delay_skew_ps
    assert scan.delays_ps[2] == pytest.approx(skew[1] - skew[0], abs=5)
    assert scan.delays_ps[3] == pytest.approx(skew[2] - skew[0], abs=5)
    w.set_pattern(None)
    w.generate(1_000_000_000)

    w.start_tagger()
    dark = w.generate(5_000_000_000)
    w.start_session("0123456789abcdef")
    pieces = [dark, *(w.generate(10_000_000_000) for _ in range(8))]
    tags, channel = (np.concatenate(part) for part in zip(*pieces, strict=True))
    onset = find_onset(tags)
    delay = np.zeros(256, np.int64)
    for number, value in scan.delays_ps.items():
        delay[number] = round(value)
    corrected = np.sort(tags - delay[channel])
    period = recover_period(corrected[corrected >= onset][:100_000], 1600.0, 10.0)
    assert period.period_ps / 1600 - 1 == pytest.approx(-4e-6, abs=1e-8)
    offset = find_offset(
        tags,
        channel,
        w.symbols(np.arange(SYNC_SLOTS, dtype=np.uint64)),
        onset_ps=onset,
        period_ps=period.period_ps,
        gates=scan.gates,
    )
    assert offset.confirm_z > 20

    tracker = ClockTracker(
        offset.slot_zero_time_ps, period.period_ps, scan.gates, period_sigma_ps=max(period.sigma, 1e-6)
    )
    collector = BlockCollector(
        SYNC_SLOTS, BLOCK_SLOTS, gates=scan.gates, common_dead_time_ps=24_000, channel_delays_ps=scan.delays_ps
    )
    first = int(np.searchsorted(tags, offset.slot_zero_time_ps))
    tags, channel = tags[first:], channel[first:]
    random = np.random.default_rng(4)
    for segment in tracker.feed(tags, channel, int(tags[-1])):
        part = slice(segment.start, segment.stop)
        entropy = random.integers(0, 256, entropy_bytes_needed(segment.stop - segment.start)).astype(np.uint8)
        collector.feed(tags[part], channel[part], segment, entropy)
        assert abs(segment.residual_ps) < 20
    blocks = collector.finished()
    assert len(blocks) == 2

    gates = [(gate.channel, gate.start_ps, gate.width_ps, int(gate.basis), gate.bit) for gate in scan.gates]
    truth = w.expectation(gates, 24_000.0)
    wrong, counted = np.zeros(2), np.zeros(2)
    for block in blocks:
        basis, bit, _ = split_symbols(w.symbols(block.slot.astype(np.uint64)))
        for which in (0, 1):
            sifted = (basis == which) & (block.basis == which)
            counted[which] += sifted.sum()
            wrong[which] += (sifted & (bit != block.bit)).sum()
    assert (counted > [300_000, 20_000]).all()
    for which, name in enumerate(("qber_z", "qber_x")):
        expected = float(truth[name])  # type: ignore[arg-type]
        assert wrong[which] / counted[which] == pytest.approx(expected, abs=4 * np.sqrt(expected / counted[which]))
