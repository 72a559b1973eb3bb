"""The twin's kernels against slow obvious twins, and against the distributions that they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sim_instruments.attacks.intercept_resend import resent_state, transition
from sim_instruments.knobs import Knobs
from sim_instruments.model import ReceiverModel, SourceModel
from sim_instruments.physics import source
from sim_instruments.physics.channel import alignment, initial_stokes, walk_on_sphere
from sim_instruments.physics.clocks import TaggerClock
from sim_instruments.physics.detectors import Recovery, clicks, dark_rate_hz, efficiency
from sim_instruments.physics.generation import Light, Stretch, photo_events, sort_nearly_sorted
from sim_instruments.physics.receiver import OUTCOME_CHANNEL, OUTCOMES, light_parts
from sim_instruments.physics.symbols import (
    ROWS,
    SymbolLaw,
    limits,
    row_probabilities,
    splitmix64,
    symbol_of_slot,
    symbols_of_slots,
)
from tests.sim_instruments.bench import world

NO_PATTERN = np.empty(0, dtype=np.uint8)
LAW = SymbolLaw(np.uint64(77), limits((0.4, 0.4, 0.1, 0.1)), limits((0.7, 0.2, 0.1, 0.0)), NO_PATTERN)


def slow_splitmix64(counter: int) -> int:
    mask = (1 << 64) - 1
    z = (counter + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
    return z ^ z >> 31


def test_splitmix64_is_the_published_one() -> None:
    assert slow_splitmix64(0) == 0xE220A8397B1DCDAF  # first output for seed 0, in every published listing
    for counter in (0, 1, 2**63, 2**64 - 1, 123456789):
        assert int(splitmix64(np.uint64(counter))) == slow_splitmix64(counter)


def test_symbols_follow_the_hash_and_its_probabilities() -> None:
    slots = np.arange(10**12, 10**12 + 300_000, dtype=np.int64)
    symbols = symbols_of_slots(slots, LAW)
    for slot, symbol in zip(slots[:200].tolist(), symbols[:200].tolist(), strict=True):
        word = slow_splitmix64(slot ^ 77)
        state = sum((word & 0xFFFFFFFF) >= limit for limit in np.cumsum([0.4, 0.4, 0.1])[:3] * 2**32)
        intensity = sum((word >> 32) >= limit for limit in np.cumsum([0.7, 0.2, 0.1])[:3] * 2**32)
        assert symbol == state + 16 * intensity
    found = np.bincount((symbols & 15) * 4 + (symbols >> 4), minlength=ROWS)
    expected = row_probabilities(LAW).ravel()
    assert expected.sum() == pytest.approx(1.0)
    likely = expected > 1e-9
    assert found[~likely].sum() == 0
    assert stats.chisquare(found[likely], expected[likely] * found.sum() / expected[likely].sum()).pvalue > 1e-3


def test_probabilities_of_a_pattern_are_its_counts() -> None:
    law = LAW._replace(pattern=np.array([0, 0, 0x11, 3], dtype=np.uint8))
    assert row_probabilities(law)[0, 0] == 0.5
    assert row_probabilities(law)[1, 1] == row_probabilities(law)[3, 0] == 0.25


def test_eve_sends_what_she_saw() -> None:
    fraction, slots = 0.6, np.arange(200_000)
    for state in range(4):
        resent = np.array([resent_state(s, state, np.uint64(5), fraction) for s in slots])
        assert np.bincount(resent, minlength=4) / slots.size == pytest.approx(transition(fraction)[state], abs=0.005)
    assert resent_state(1, 2, np.uint64(5), 0.0) == 2


def test_photo_events_are_independent_poisson_numbers_per_outcome() -> None:
    """Strong light, so that coincidences are common: numbers per slot and outcome, given the slot's symbol."""
    mean = np.linspace(0.02, 0.3, ROWS * OUTCOMES).reshape(ROWS, OUTCOMES)
    cumulative = np.cumsum(mean, axis=1)
    light = Light(
        cumulative,
        float(cumulative[:, -1].max()),
        np.arange(OUTCOMES) * 10.0,  # so that the time tells the outcome
        np.zeros(OUTCOMES),
        OUTCOME_CHANNEL,
        np.uint64(0),
        0.0,
    )
    slots, rng = 200_000, np.random.default_rng(3)
    time_ps, channel = np.empty(2_000_000), np.empty(2_000_000, dtype=np.uint8)
    n = photo_events(rng, Stretch(1000, 0.0, float(slots), 0.0, 1600.0), LAW, light, time_ps, channel, 0)
    slot, outcome = (time_ps[:n] // 1600).astype(int), (time_ps[:n] % 1600 / 10).astype(int)
    assert np.array_equal(channel[:n], OUTCOME_CHANNEL[outcome])
    numbers = np.zeros((slots, OUTCOMES), dtype=int)
    np.add.at(numbers, (slot, outcome), 1)
    symbols = symbols_of_slots(np.arange(1000, 1000 + slots), LAW)
    for row in (0, 1, 4, 12):
        of_row = numbers[(symbols & 15) * 4 + (symbols >> 4) == row]
        error = np.sqrt(mean[row] / len(of_row))
        assert np.all(np.abs(of_row.mean(axis=0) - mean[row]) < 4.5 * error)
        assert of_row.var(axis=0) == pytest.approx(mean[row], rel=0.08)
        covariance = np.cov(of_row.T) - np.diag(of_row.var(axis=0, ddof=1))
        assert np.abs(covariance).max() < 4.5 * mean[row].max() / math.sqrt(len(of_row))


def test_photo_events_say_when_the_buffer_is_too_short() -> None:
    light = Light(np.full((ROWS, 1), 1.0), 1.0, np.zeros(1), np.zeros(1), OUTCOME_CHANNEL[:1], np.uint64(0), 0.0)
    short = np.empty(10), np.empty(10, dtype=np.uint8)
    assert photo_events(np.random.default_rng(1), Stretch(0, 0.0, 1000.0, 0.0, 1600.0), LAW, light, *short, 0) == -1


def test_sort_of_nearly_sorted_events() -> None:
    rng = np.random.default_rng(2)
    time_ps = np.arange(5000) * 100.0 + rng.normal(0, 300, 5000)
    channel = rng.integers(1, 5, 5000).astype(np.uint8)
    order = np.argsort(time_ps, kind="stable")
    expected = time_ps[order].copy(), channel[order].copy()
    sort_nearly_sorted(time_ps, channel, 5000)
    assert np.array_equal(time_ps, expected[0])
    assert np.array_equal(channel, expected[1])


def slow_clicks(events: list[tuple[float, int]], dead_ps: list[float]) -> list[tuple[float, int]]:
    """Non-extending dead time, no afterpulses."""
    last = [-math.inf] * 4
    found = []
    for t, c in events:
        if t - last[c - 1] >= dead_ps[c - 1]:
            last[c - 1] = t
            found.append((t, c))
    return found


def recovery(probability: float) -> Recovery:
    dead_ps = np.array([20e3, 30e3, 5e3, 0.0])
    return Recovery(dead_ps, np.full(4, -np.inf), np.full(4, np.inf), probability, 50e3)


def test_dead_time_pass_equals_its_slow_twin() -> None:
    rng = np.random.default_rng(4)
    time_ps = np.sort(rng.random(20_000) * 1e8)
    channel = rng.integers(1, 5, time_ps.size).astype(np.uint8)
    out = np.empty(2 * time_ps.size + 4), np.empty(2 * time_ps.size + 4, dtype=np.uint8)
    state = recovery(0.0)
    used, n = clicks(rng, time_ps, channel, 0.9e8, state, *out)
    assert used == np.searchsorted(time_ps, 0.9e8)
    events = list(zip(time_ps[:used].tolist(), channel[:used].tolist(), strict=True))
    expected = slow_clicks(events, state.dead_ps.tolist())
    assert list(zip(out[0][:n].tolist(), out[1][:n].tolist(), strict=True)) == expected


def test_afterpulses_come_as_often_and_as_late_as_said() -> None:
    """Events 1 ms apart, so that what lies between them is afterpulses."""
    rng = np.random.default_rng(5)
    time_ps = np.arange(50_000) * 1e9
    channel = np.full(time_ps.size, 2, dtype=np.uint8)
    out = np.empty(2 * time_ps.size + 4), np.empty(2 * time_ps.size + 4, dtype=np.uint8)
    _, n = clicks(rng, time_ps, channel, math.inf, recovery(0.2), *out)
    after_ps = out[0][:n] % 1e9
    after_ps = after_ps[after_ps > 0]
    assert np.all(np.diff(out[0][:n]) > 0)
    assert after_ps.size == pytest.approx(10_000, abs=400)
    assert stats.kstest(after_ps - 30e3, "expon", args=(0, 50e3)).pvalue > 1e-3


def test_light_of_a_slot_is_shared_out_without_loss_or_gain() -> None:
    receiver = ReceiverModel()
    for early, phase in ((1.0, 0.0), (0.5, 0.0), (0.5, math.pi), (0.3, 1.0)):
        assert light_parts(receiver, early, 1.0 - early, 0.01, phase, 0.98).sum() == pytest.approx(1.0)
    plus = light_parts(receiver, 0.5, 0.5, 0.0, 0.0, 0.98)
    assert plus[2] / (plus[2] + plus[3]) == pytest.approx(0.99)
    assert plus[4:].sum() == pytest.approx(plus[2:4].sum())  # half of the interferometer's light misses the middle


def test_modulator_extinction_and_bias() -> None:
    model = SourceModel()
    full = source.modulator_transmission(model, round(model.modulator_dac_vpi), 0.0)
    assert full == pytest.approx(1.0)
    assert 10 * math.log10(full / source.modulator_transmission(model, 0, 0.0)) == pytest.approx(27.0)
    wrong_part = [source.intensity_transmission(model, 52_000, phase)[1] for phase in (0.0, 0.3, 1.0)]
    assert wrong_part[0] < 0.003 < wrong_part[1] < wrong_part[2]


def test_laser_has_a_threshold() -> None:
    model = SourceModel()
    power = [source.laser_power_w(model, Knobs(laser_current_a=i, is_laser_on=True), 1.0) for i in (0.005, 0.01, 0.06)]
    assert power == [0.0, 0.0, pytest.approx(1e-3)]
    assert source.laser_power_w(model, Knobs(laser_current_a=0.06), 1.0) == 0.0


def test_detector_curves() -> None:
    model = world().bench.detectors
    assert efficiency(model, 1, model.nominal_bias_a, 0.1) == pytest.approx(model.efficiency[0])
    assert efficiency(model, 1, 10e-6, 0.1) < 0.02 < 0.39 < efficiency(model, 1, 14e-6, 0.1) < 0.41
    assert efficiency(model, 1, 25e-6, 0.1) == efficiency(model, 1, 20e-6, 0.5) == 0.0
    assert dark_rate_hz(model, 1, 21e-6, 0.1) == pytest.approx(math.e * model.dark_rate_hz[0], rel=1e-3)
    assert dark_rate_hz(model, 1, 20e-6, 0.01) > 1e6


def test_polarization_walk_stays_on_the_sphere_at_its_rate() -> None:
    channel = world().bench.channel
    rng, start = np.random.default_rng(6), initial_stokes(channel)
    ends = []
    for _ in range(2000):
        s = start
        for _ in range(10):
            s = walk_on_sphere(s, 1e-3, 1.0, rng)
        ends.append(s)
        assert np.linalg.norm(s) == pytest.approx(1.0)
    angle = np.arccos(np.clip(np.array(ends) @ start, -1, 1))
    assert np.mean(angle**2) == pytest.approx(1e-2, rel=0.1)
    assert alignment(channel, start, [0.0] * 4) == pytest.approx(1.0)


def test_clock_reads_whole_ps_without_losing_any() -> None:
    clock = TaggerClock(world({"clock": {"has_shared_10mhz": False, "frequency_offset_ppm": -3.0}}).bench.clock)
    clock.begin_step(0.05, np.random.default_rng(1))
    readings = []
    for _ in range(1000):
        readings.append(int(clock.read(np.array([0.0]))[0]))
        clock.advance(1e9 + 0.25)
    steps = np.diff(readings)
    assert set(steps.tolist()) <= {round(1e9 * (1 - 3e-6)) + k for k in (-1, 0, 1)}
    assert readings[-1] == pytest.approx(999 * (1e9 + 0.25) * (1 - 3e-6), abs=1)


def test_symbol_of_slot_is_the_vector_one() -> None:
    assert [int(symbol_of_slot(s, LAW)) for s in range(50)] == symbols_of_slots(np.arange(50), LAW).tolist()
