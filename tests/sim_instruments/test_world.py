"""What the instruments are told changes the physics; sessions, time, faults."""

from __future__ import annotations

import numpy as np
import pytest

from sim_instruments.knobs import KnobError
from sim_instruments.world import World
from tests.sim_instruments.bench import detectors_on, gates, switch_on, world

SESSION = "00112233445566aa"
MS_PS = 1_000_000_000


def lit(**settings: float) -> World:
    """A world in the middle of a session, light at the receiver, tagger started."""
    w = world()
    switch_on(w, **settings)
    w.start_session(SESSION)
    w.generate(MS_PS)
    w.start_tagger()
    return w


def counts(w: World, duration_ps: int = 2 * MS_PS) -> np.ndarray:
    """Tags per channel 1..4."""
    return np.bincount(w.generate(duration_ps)[1], minlength=5)[1:]


def test_a_bench_just_powered_on_is_dark_and_silent() -> None:
    w = world()
    assert w.generate(100 * MS_PS)[0].size == 0
    assert w.laser_power_w() == 0.0
    assert abs(w.tap_power_w()) < 1e-9


def test_laser_off_leaves_only_dark_counts() -> None:
    w = lit()
    w.set_laser(0.060, False)
    assert counts(w, 1000 * MS_PS).sum() == pytest.approx(400, abs=100)


def test_no_light_without_session_or_pattern() -> None:
    w = world()
    switch_on(w)
    w.generate(MS_PS)
    assert counts(w).sum() < 10
    w.set_pattern(np.zeros(1, dtype=np.uint8))
    w.generate(MS_PS)
    assert counts(w).sum() > 1000


def test_less_attenuation_more_clicks() -> None:
    w = lit(attenuation_db=18.0)
    few = counts(w)
    w.set_attenuator_db(15.0)
    many = counts(w)
    assert many[1] == pytest.approx(2.0 * few[1], rel=0.1)


def test_expected_click_rates_are_those_of_the_tags() -> None:
    w = lit()
    assert counts(w, 20 * MS_PS)[:3] / 0.020 == pytest.approx(w.count_rates_hz()[:3], rel=0.01)


def test_monitor_tap_tells_the_mean_photon_number() -> None:
    """Power at the tap, tap ratio and fixed attenuation give what leaves, within the bench's own calibration errors."""
    w = lit()
    power_w = np.mean([w.tap_power_w() for _ in range(200)])
    a, s = w.bench.attenuation, w.bench.source
    exit_w = power_w / a.meter_gain / a.tap_ratio * (1 - a.tap_ratio) * 10 ** (-a.fixed_db / 10)
    truth = w.expectation(gates(), 25_000)["mean_photon_numbers"]
    assert isinstance(truth, list)
    assert exit_w / (s.photon_energy_j * s.slot_rate_hz) == pytest.approx(0.7 * truth[0] + 0.3 * truth[1], rel=0.003)
    assert truth[0] == pytest.approx(0.5, abs=0.05)
    assert truth[1] / truth[0] == pytest.approx(0.31, abs=0.03)


@pytest.mark.parametrize(("mode", "volts"), [(0, 0.0), (1, 0.0), (3, 0.0), (7, 0.0)])
def test_wrong_modulator_bias_raises_the_key_basis_error(mode: int, volts: float) -> None:
    w = lit()
    right = w.expectation(gates(), 25_000)
    w.set_modulator_bias(mode, volts)
    wrong = w.expectation(gates(), 25_000)
    assert wrong["qber_z"] > 0.1 > 0.02 > right["qber_z"]
    assert wrong["mean_photon_numbers"] != right["mean_photon_numbers"]


def test_manual_bias_at_the_null_is_as_good_as_the_lock() -> None:
    w = lit()
    locked = w.expectation(gates(), 25_000)["qber_z"]
    w.set_modulator_bias(7, w.bench.source.modulator_null_bias_v)
    assert w.expectation(gates(), 25_000)["qber_z"] == pytest.approx(locked, rel=0.02)
    assert not w.modulator_locked()


def test_modulator_locks_on_light_only() -> None:
    w = lit()
    assert w.modulator_locked()
    w.set_laser(0.060, False)
    assert not w.modulator_locked()


def test_phase_actuator_undoes_the_interferometer_phase() -> None:
    w = world({"receiver": {"interferometer_phase_rad": 0.9}})
    switch_on(w)
    w.start_session(SESSION)
    off = w.expectation(gates(), 25_000)["qber_x"]
    w.set_phase_bias_v(-0.9 / np.pi * w.bench.receiver.phase_actuator_vpi_v)
    assert off > 0.15 > 0.025 > w.expectation(gates(), 25_000)["qber_x"] > 0.015


def test_polarization_voltages_matter() -> None:
    w = lit()
    before, right = counts(w), w.expectation(gates(), 25_000)["qber_x"]
    w.set_polarization_voltages_v([0.0, 2.0, 0.0, 0.0])
    after, wrong = counts(w), w.expectation(gates(), 25_000)["qber_x"]
    assert after.sum() < 0.7 * before.sum()
    assert wrong > 2 * right
    w.set_polarization_voltages_v([0.0, 2.0, 0.0, -2.0])
    assert counts(w).sum() == pytest.approx(before.sum(), rel=0.03)


def test_detectors_need_bias_and_a_sensible_discriminator() -> None:
    w = lit()
    for spoil in (
        lambda: w.set_detector_enabled(False),
        lambda: w.set_detector_bias_a([30e-6] * 4),
        lambda: w.set_trigger_levels_v([0.5] * 4),
    ):
        spoil()
        w.generate(MS_PS // 1000)
        assert counts(w).sum() == 0
        detectors_on(w)
        assert counts(w).sum() > 10_000


@pytest.mark.parametrize("durations", [[7 * MS_PS], [MS_PS] * 7, [123_457] * 500, [1000] * 300])
def test_generation_is_seamless(durations: list[int]) -> None:
    """However it is cut: tags in order, no detector clicking within its dead time, the rate that is expected."""
    w = lit()
    parts = [w.generate(d) for d in durations]
    time_ps, channel = (np.concatenate(p) for p in zip(*parts, strict=True))
    assert np.all(np.diff(time_ps) >= 0)
    for c in (1, 2, 3):
        assert np.diff(time_ps[channel == c]).min(initial=20_000) >= 20_000 - 1
    expected = sum(w.count_rates_hz()) * sum(durations) * 1e-12
    assert time_ps.size == pytest.approx(expected, abs=5 * expected**0.5 + 1)


def test_same_seed_same_tags_other_seed_other_tags() -> None:
    def tags(seed: int) -> np.ndarray:
        w = world(seed=seed)
        switch_on(w)
        w.start_session(SESSION)
        return w.generate(2 * MS_PS)[0]

    assert np.array_equal(tags(1), tags(1))
    assert not np.array_equal(tags(1)[:100], tags(2)[:100])


def test_light_arrives_a_fibre_delay_after_slot_0() -> None:
    w = world()
    switch_on(w)
    w.start_tagger()
    slot0_ps = w.start_session(SESSION)
    time_ps, channel = w.generate(MS_PS)
    arrival_ps = slot0_ps + w.bench.channel.delay_ps
    assert arrival_ps < time_ps[channel < 4][0] < arrival_ps + 5e6
    phase = (time_ps[channel == 1] - arrival_ps - w.bench.detectors.delay_skew_ps[0]) % 1600
    near_pulse = np.minimum(phase % 800, 800 - phase % 800)
    assert np.mean(near_pulse < 100) > 0.997  # the rest are afterpulses
    assert slot0_ps == round(w.bench.clock.session_delay_ps)


def test_symbols_of_a_session() -> None:
    w = lit(key_basis=0.8)
    symbols = w.symbols(np.arange(200_000, dtype=np.uint64))
    state, intensity = symbols & 15, symbols >> 4
    assert np.bincount(state, minlength=4) / symbols.size == pytest.approx([0.4, 0.4, 0.1, 0.1], abs=0.005)
    assert np.mean(intensity == 0) == pytest.approx(0.7, abs=0.005)
    w.stop_session()
    sent = w.slot_now()
    assert np.array_equal(w.symbols(np.arange(200_000, dtype=np.uint64)), symbols)
    assert w.symbols(np.array([sent + 1], dtype=np.uint64))[0] & 0x80
    w.start_session("ffffffffffffffff")
    w.generate(MS_PS)
    others = w.symbols(np.arange(200_000, dtype=np.uint64))
    assert np.mean(others == symbols) < 0.6


def test_pattern_repeats_and_rules_over_the_hash() -> None:
    w = lit()
    pattern = np.array([0, 1, 0x12], dtype=np.uint8)
    w.set_pattern(pattern)
    first = w.slot_now()
    w.generate(MS_PS)
    slots = np.arange(first + 1, first + 100, dtype=np.uint64)
    assert np.array_equal(w.symbols(slots), pattern[slots % 3])
    assert np.array_equal(w.symbols(np.arange(3, dtype=np.uint64)) >> 6, [0, 0, 0])


def test_slot_counter_follows_time_and_stops_with_the_session() -> None:
    w = world()
    assert w.slot_now() == 0
    w.start_session(SESSION)
    w.generate(MS_PS)
    assert w.slot_now() == (MS_PS - round(w.bench.clock.session_delay_ps)) // 1600
    w.stop_session()
    stopped = w.slot_now()
    w.generate(MS_PS)
    assert w.slot_now() == stopped


def test_free_running_clock_is_fast_by_its_offset() -> None:
    w = world({"clock": {"has_shared_10mhz": False, "frequency_offset_ppm": 20.0}})
    switch_on(w)
    w.set_pattern(np.zeros(1, dtype=np.uint8))
    w.start_tagger()
    time_ps, _ = w.generate(100 * MS_PS)
    assert time_ps[-1] == pytest.approx(100 * MS_PS * (1 + 20e-6), abs=5e6 * 0.2)


def test_a_clock_step_shifts_what_follows() -> None:
    w = lit()
    w.set_fault("clock_step_ps", 5_000_000.0)
    assert w.generate(MS_PS)[0][0] > 5_000_000 - 1
    w.set_fault("clock_step_ps", 0.0)
    time_ps, _ = w.generate(MS_PS)
    assert time_ps[0] == pytest.approx(MS_PS + 5_000_000, abs=1_000_000)
    assert time_ps[-1] == pytest.approx(2 * MS_PS, abs=1_000_000)


@pytest.mark.parametrize(("name", "value", "neutral"), [("fibre_cut", True, False), ("laser_fade", 0.0, 1.0)])
def test_faults_that_take_the_light_away_can_be_undone(name: str, value: float, neutral: float) -> None:
    w = lit()
    before = counts(w).sum()
    w.set_fault(name, value)
    w.generate(MS_PS)
    assert counts(w).sum() < 10
    w.set_fault(name, neutral)
    w.generate(MS_PS)
    assert counts(w).sum() == pytest.approx(before, rel=0.05)


def test_other_faults() -> None:
    w = lit()
    before, truth = counts(w), w.expectation(gates(), 25_000)
    w.set_fault("detector_dead", 2)
    assert counts(w)[1] == 0
    w.set_fault("detector_dead", 0)
    w.set_fault("extra_loss_db", 10.0)
    assert counts(w)[1] == pytest.approx(before[1] / 10, rel=0.15)
    w.set_fault("extra_loss_db", 0.0)
    w.set_fault("polarization_jump", 1.5)
    assert w.expectation(gates(), 25_000)["qber_x"] > truth["qber_x"] + 0.05
    w.set_fault("polarization_jump", 0.0)
    w.set_fault("dark_count_factor", 1000.0)
    assert counts(w)[3] == pytest.approx(100 * 1000 * 0.002, abs=60)
    w.set_fault("dark_count_factor", 1.0)
    w.set_fault("modulator_unlocked", True)
    assert w.expectation(gates(), 25_000)["qber_z"] > 0.1
    w.set_fault("modulator_unlocked", False)
    assert w.expectation(gates(), 25_000) == truth


def test_attack_changes_no_rate() -> None:
    w = lit()
    before = counts(w, 10 * MS_PS)
    w.set_attack("intercept-resend", 1.0)
    after = counts(w, 10 * MS_PS)
    assert after[0] + after[1] + after[2] == pytest.approx(before.sum(), rel=0.2)
    assert w.expectation(gates(), 25_000)["qber_z"] == pytest.approx(0.258, abs=0.01)
    assert w.expectation(gates(), 25_000)["qber_x"] == pytest.approx(0.26, abs=0.01)
    w.set_attack(None)
    assert w.expectation(gates(), 25_000)["qber_z"] < 0.02


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (lambda w: w.set_laser(0.5, True), ["laser current", "0.5", "0.2", "A"]),
        (lambda w: w.set_laser(float("nan"), True), ["laser current", "nan"]),
        (lambda w: w.set_attenuator_db(0.2), ["attenuation", "0.5", "dB"]),
        (lambda w: w.set_modulator_bias(12, 0.0), ["mode", "12", "9"]),
        (lambda w: w.set_intensity_level(4, 0), ["intensity index", "4", "3"]),
        (lambda w: w.set_intensity_level(0, 65_536), ["DAC", "65535"]),
        (lambda w: w.set_state_probabilities([0.5, 0.4]), ["sum to 0.9"]),
        (lambda w: w.set_polarization_voltages_v([0, 0, 0, 6]), ["polarization", "6", "5"]),
        (lambda w: w.set_detector_bias_a([1e-6]), ["1 values", "4 needed"]),
        (lambda w: w.set_pattern(np.array([0x44], dtype=np.uint8)), ["pattern"]),
        (lambda w: w.set_fault("meteor", 1), ["meteor", "fibre_cut"]),
        (lambda w: w.set_fault("laser_fade", -1.0), ["laser_fade", "-1"]),
        (lambda w: w.set_attack("blinding", 1.0), ["blinding", "intercept-resend"]),
        (lambda w: w.set_attack("intercept-resend", 1.5), ["fraction", "1.5"]),
    ],
)
def test_impossible_settings_are_refused_in_words(order, words) -> None:  # type: ignore[no-untyped-def]
    w = world()
    with pytest.raises(KnobError) as refusal:
        order(w)
    for word in words:
        assert word in str(refusal.value)
