"""Delays, widths and gates from tags under a known pattern, and the named reasons for having none."""

from __future__ import annotations

import numpy as np
import pytest

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.records import Basis
from postproc.timing.delay_scan import DELAY_PATTERN, DelayScan, scan_delays
from postproc.timing.frequency import recover_period
from tests.postproc.timing.light import Light, tags_of


def scan(model: Light, pattern: np.ndarray = DELAY_PATTERN, seed: int = 1, slots: int = 600_000) -> DelayScan:
    rng = np.random.default_rng(seed)
    symbols = np.tile(pattern, slots // pattern.size).astype(np.uint8)
    tags, channel = tags_of(rng, symbols, model, 777.7, slots * 1600.1)
    period = recover_period(tags[channel == 1], 1600.0, 10).period_ps
    return scan_delays(tags, channel, period, key_channel=1, test_channels=(2, 3), pattern=pattern)


@pytest.mark.parametrize(
    "delays", [(0.0, 310.0, -170.0), (130.0, 410.0, -240.0), (0.0, 2600.0, -7000.0), (50.0, 850.0, -750.0)]
)
def test_delays_and_gates_are_those_of_the_model(delays: tuple[float, float, float]) -> None:
    found = scan(Light(delays_ps=delays))
    assert found.delays_ps[1] == 0.0
    assert found.delays_ps[2] == pytest.approx(delays[1] - delays[0], abs=3)
    assert found.delays_ps[3] == pytest.approx(delays[2] - delays[0], abs=3)
    for channel in found.channels:
        assert channel.fwhm_ps == pytest.approx(2.355 * 40, rel=0.15)
        assert channel.captured > 0.99
        assert channel.significance > 50
    early, late, x0, x1 = found.gates
    assert (early.basis, early.bit, late.bit) == (Basis.Z, 0, 1)
    assert late.start_ps - early.start_ps == pytest.approx(800, abs=0.1)
    assert x0.start_ps - late.start_ps == pytest.approx(delays[1] - delays[0], abs=3)
    assert (x0.channel, x0.bit, x1.channel, x1.bit) == (2, 0, 3, 1)
    assert len({gate.width_ps for gate in found.gates}) == 1
    assert 160 < found.gate_width_ps < 400


@pytest.mark.parametrize("visibility", [-1.0, 0.0, 1.0])
def test_the_interferometer_phase_does_not_matter(visibility: float) -> None:
    assert scan(Light(visibility=visibility)).delays_ps[2] == pytest.approx(310, abs=4)


def test_a_uniform_pattern_leaves_half_a_slot_open_and_is_refused() -> None:
    with pytest.raises(SynchronisationLost, match="fits the pattern at two delays"):
        scan(Light(), np.array([0], np.uint8))


def test_a_dead_detector_is_named() -> None:
    rng = np.random.default_rng(2)
    symbols = np.tile(DELAY_PATTERN, 20_000)
    tags, channel = tags_of(rng, symbols, Light(), 0.0, symbols.size * 1600.1)
    with pytest.raises(SynchronisationLost, match="channel 3 has 0 tags"):
        scan_delays(tags[channel != 3], channel[channel != 3], 1600.0048, key_channel=1, test_channels=(2, 3))


def test_dark_counts_show_no_peak() -> None:
    rng = np.random.default_rng(3)
    tags = np.sort(rng.integers(0, 10**12, 60_000))
    channel = rng.integers(1, 4, tags.size).astype(np.uint8)
    with pytest.raises(SynchronisationLost, match="channel 1 shows no peak"):
        scan_delays(tags, channel, 1600.0, key_channel=1, test_channels=(2, 3))


def test_arguments_are_checked() -> None:
    nothing = np.empty(0, np.int64), np.empty(0, np.uint8)
    with pytest.raises(InputOutOfRange):
        scan_delays(*nothing, 1600.0, key_channel=1, test_channels=(2, 3), pattern=np.array([0, 2], np.uint8))
    with pytest.raises(InputOutOfRange):
        scan_delays(*nothing, 0.0, key_channel=1, test_channels=(2, 3))
