"""The twin's expectation against its own tags, read by a slow obvious receiver.

Each case is a different corner: ordinary light, an eavesdropper, strong light and narrow gates, strong afterpulses and
dark counts, a wrong interferometer phase.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sim_instruments.world import World
from tests.sim_instruments.bench import gates, switch_on, world
from tests.sim_instruments.slow_receiver import SlowReceiver, error_counts

DEAD_PS = 25_000


def observe(w: World, duration_ps: int, width_ps: float) -> tuple[dict[str, int], float]:
    """Counts of a session of `duration_ps`, and that time in s."""
    w.start_tagger()
    tagger_start_ps = w.now_ps
    slot0_ps = w.start_session("0123456789abcdef") - tagger_start_ps + w.bench.channel.delay_ps
    w.register_gates(gates(width_ps), DEAD_PS)
    time_ps, channel = w.generate(duration_ps)
    receiver = SlowReceiver(gates(width_ps), w.bench.source.slot_ps, slot0_ps, w.bench.detectors.delay_skew_ps, DEAD_PS)
    found = [d for d in receiver.detections(time_ps, channel) if d[0] >= 0]
    symbols = w.symbols(np.array([slot for slot, _, _ in found], dtype=np.uint64))
    return error_counts(found, symbols), (duration_ps - slot0_ps) * 1e-12


def standard_errors(errors: int, n: int, expected: float) -> float:
    return (errors / n - expected) / math.sqrt(expected * (1.0 - expected) / n)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], float, float]] = {
    # tables of the bench, switch_on, gate width, attacked fraction
    "nominal": ({}, {}, 500.0, 0.0),
    "half intercepted": ({}, {}, 500.0, 0.5),
    "strong light, narrow gates": ({"channel": {"length_km": 35.0}}, {"key_basis": 0.5}, 120.0, 0.0),
    "afterpulses, dark counts": (
        {"detectors": {"afterpulse_probability": 0.03, "dark_rate_hz": (3e5, 2e5, 1e5, 0.0)}},
        {"attenuation_db": 18.0},
        700.0,
        0.0,
    ),
    "phase off": ({"receiver": {"interferometer_phase_rad": 0.8}}, {"key_basis": 0.6}, 500.0, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_error_ratios_and_rates_are_those_of_the_tags(case: str) -> None:
    tables, settings, width_ps, attacked = CASES[case]
    w = world(tables, seed=11)
    switch_on(w, **settings)
    w.set_attack("intercept-resend" if attacked else None, attacked)
    counts, seconds = observe(w, 30_000_000_000, width_ps)
    truth = w.expectation(gates(width_ps), DEAD_PS)
    assert counts["sifted_z"] > 20_000
    assert abs(standard_errors(counts["errors_z"], counts["sifted_z"], float(truth["qber_z"]))) < 3.5
    assert abs(standard_errors(counts["errors_x"], counts["sifted_x"], float(truth["qber_x"]))) < 3.5
    ratio = counts["sifted_x"] / counts["sifted_z"]
    assert ratio == pytest.approx(truth["sifted_x_hz"] / truth["sifted_z_hz"], rel=0.04)
    assert counts["detections"] / seconds == pytest.approx(truth["detections_hz"], rel=0.04)


def test_average_follows_what_was_sent() -> None:
    w = world()
    switch_on(w)
    w.start_session("0123456789abcdef")
    w.register_gates(gates(), DEAD_PS)
    w.generate(20_000_000_000)
    quiet = w.expectation(gates(), DEAD_PS)
    w.set_attack("intercept-resend", 1.0)
    w.generate(20_000_000_000)
    attacked = w.expectation(gates(), DEAD_PS)
    average = w.expectation_average()
    assert average["qber_z"] == pytest.approx((quiet["qber_z"] + attacked["qber_z"]) / 2, rel=0.02)
    assert average["duration_s"] == pytest.approx(0.040 - 250e-6, rel=0.001)
    assert attacked["qber_z"] == pytest.approx(quiet["qber_z"] + 0.25 * (1 - 2 * quiet["qber_z"]), abs=0.003)


def test_gates_count_as_centred_whatever_their_frame() -> None:
    w = world()
    switch_on(w)
    w.start_session("0123456789abcdef")
    moved = [(c, start + 5678.9, width, basis, bit) for c, start, width, basis, bit in gates()]
    assert w.expectation(moved, DEAD_PS) == w.expectation(gates(), DEAD_PS)
    assert w.expectation(gates(60.0), DEAD_PS)["detections_hz"] < 0.8 * w.expectation(gates(), DEAD_PS)["detections_hz"]
    with pytest.raises(ValueError, match="channel 5"):
        w.register_gates([(5, 0.0, 500.0, 0, 0)], DEAD_PS)
