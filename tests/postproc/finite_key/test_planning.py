"""Expected counts, plans that undisturbed blocks pass, and the search of parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from postproc.errors import InputOutOfRange
from postproc.finite_key import wiesemann2026
from postproc.finite_key.link_model import LinkModel, expected_counts, live_probability, slots_for_key_detections
from postproc.finite_key.planning import expected_leakage_bits, optimise, plan_block, plan_link
from postproc.finite_key.planning_table import COLUMNS, format_table
from postproc.records import BlockCounts, LinkParameters
from postproc.symbols import split_symbols
from postproc.timing.blocks import BlockCollector
from postproc.timing.clock import ClockSegment
from tests.postproc.timing import light

DEMO = LinkParameters(
    link_id="demo", protocol="bb84-one-decoy", slot_rate_hz=625e6, mean_photon_numbers=(0.4, 0.16),
    intensity_probabilities=(0.4, 0.6), key_basis_probability=0.75, block_slots=128_000_000, sync_string_slots=1 << 18,
    eps_sec=1e-10, eps_cor=1e-15, proof=wiesemann2026.PROOF, qber_z_limit=0.05, qber_x_limit=0.05,
    common_dead_time_ps=25_000,
)  # fmt: skip
LINK = LinkModel(channel_loss_db=10.0, receiver_key_basis_probability=0.7)


def test_expected_counts_are_those_of_simulated_tags() -> None:
    """The planning model against the tag model of the timing tests and the real gating, sifted by hand."""
    model = light.Light(eta_mu=0.05, decoy_ratio=0.4, relative_offset=0.0, error=0.02, visibility=0.94, dark_hz=2000.0)
    params = replace(DEMO, mean_photon_numbers=(0.625, 0.25), intensity_probabilities=(0.7, 0.3), block_slots=3_000_000)
    link = LinkModel(
        channel_loss_db=10.0, detector_efficiency=0.8, dark_count_rate_hz=2000.0, error_ratio_z=0.02,
        error_ratio_x=0.03, gate_width_ps=400.0, gate_capture_ratio=1.0,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    symbols = light.random_symbols(rng, params.block_slots)
    tags, channel = light.tags_of(rng, symbols, model, 0.0, params.block_slots * 1600.0)
    collector = BlockCollector(
        0,
        params.block_slots - 100,
        gates=light.gates(),
        common_dead_time_ps=25_000,
        channel_delays_ps={2: 310, 3: -170},
    )
    segment = ClockSegment(0, 0, 0.0, 1600.0, until_ps=params.block_slots * 1600)
    collector.feed(tags, channel, segment, rng.integers(0, 256, tags.size).astype(np.uint8))
    (block,) = collector.finished()
    basis, bit, intensity = split_symbols(symbols[block.slot])
    expected = expected_counts(link, params)
    for k in (0, 1):
        for which, n, m in ((0, expected.n_key, expected.m_key), (1, expected.n_test, expected.m_test)):
            mine = (basis == which) & (block.basis == which) & (intensity == k)
            assert int(mine.sum()) == pytest.approx(n[k], abs=4.5 * np.sqrt(n[k]) + 0.01 * n[k])
            assert int((mine & (bit != block.bit)).sum()) == pytest.approx(m[k], abs=4.5 * np.sqrt(m[k]) + 0.03 * m[k])


def test_without_dead_time_every_slot_is_live() -> None:
    link = replace(LINK, detector_dead_time_ps=0.0)
    assert live_probability(link, replace(DEMO, common_dead_time_ps=0)) == 1.0
    assert 0.6 < live_probability(LINK, DEMO) < 0.8
    assert live_probability(LINK, replace(DEMO, common_dead_time_ps=40_000)) < live_probability(LINK, DEMO)


def disturbed(rng: np.random.Generator, expected: BlockCounts) -> BlockCounts:
    """An undisturbed block: Poisson counts, errors a part of them."""
    n_key, n_test = rng.poisson(expected.n_key), rng.poisson(expected.n_test)
    m_key = rng.binomial(n_key, np.array(expected.m_key) / np.array(expected.n_key))
    m_test = rng.binomial(n_test, np.array(expected.m_test) / np.array(expected.n_test))
    return BlockCounts(*(tuple(x.tolist()) for x in (n_key, n_test, m_key, m_test)))


@pytest.mark.parametrize("params", [DEMO, replace(DEMO, mean_photon_numbers=(0.5, 0.15), key_basis_probability=0.7)])
def test_undisturbed_blocks_pass_with_more_than_999_in_1000(params: LinkParameters) -> None:
    row = plan_link(LINK, params, efficiency_f=1.15)
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(5000):
        result = wiesemann2026.evaluate(disturbed(rng, row.counts), params, row.leakage_bits, 128)
        rejected += (
            result.single_photon_key < row.plan.min_single_photon_key
            or result.phase_error_bound > row.plan.max_phase_error
        )
    assert rejected <= 5


def test_the_plan_is_not_wastefully_careful() -> None:
    """The thresholds are close enough that one sigma of slack less would still be a plan, and nothing is given away."""
    row = plan_link(LINK, DEMO, efficiency_f=1.15)
    assert 0.8 < row.plan.secret_length_bits / row.observed_length_bits < 1.0
    tighter = plan_link(LINK, DEMO, efficiency_f=1.15, slack_sigmas=0.0)
    assert tighter.plan.secret_length_bits == pytest.approx(row.observed_length_bits, rel=0.001)


def test_a_planned_length_never_exceeds_what_accepted_counts_give() -> None:
    """What passes the thresholds would have given at least the planned length: nothing is credited beyond the proof."""
    row = plan_link(LINK, DEMO, efficiency_f=1.15, rate_slack=0.05)
    rng = np.random.default_rng(3)
    accepted = 0
    for _ in range(2000):
        scale = rng.uniform(0.9, 1.1)
        counts = disturbed(rng, BlockCounts(*(tuple(int(x * scale) for x in c) for c in (
            row.counts.n_key, row.counts.n_test, row.counts.m_key, row.counts.m_test))))  # fmt: skip
        result = wiesemann2026.evaluate(counts, DEMO, row.plan.leakage_budget_bits, 128)
        if (
            result.single_photon_key >= row.plan.min_single_photon_key
            and result.phase_error_bound <= row.plan.max_phase_error
        ):
            accepted += 1
            assert result.observed_length_bits >= row.plan.secret_length_bits
    assert 200 < accepted < 2000


def test_slack_costs_length_and_hopeless_links_get_none() -> None:
    counts = expected_counts(LINK, DEMO)
    leakage = expected_leakage_bits(counts, 1.15)
    plans = [plan_block(counts, DEMO, leakage, s, rate_slack=r, error_slack=e).secret_length_bits
             for s, r, e in ((3, 0, 0), (5, 0, 0), (5, 0.05, 0), (5, 0.05, 0.005))]  # fmt: skip
    assert plans == sorted(plans, reverse=True)
    assert plans[0] > plans[-1] > 0
    assert plan_link(replace(LINK, channel_loss_db=60.0), DEMO, efficiency_f=1.15).plan.secret_length_bits == 0
    assert plan_link(replace(LINK, error_ratio_x=0.2), DEMO, efficiency_f=1.15).plan.secret_length_bits == 0


def test_the_search_improves_and_is_deterministic() -> None:
    start = plan_link(LINK, DEMO, efficiency_f=1.15)
    best = optimise(LINK, DEMO, key_detections=10**6, efficiency_f=1.15)
    assert best.secret_rate_bps >= start.secret_rate_bps
    assert best == optimise(LINK, DEMO, key_detections=10**6, efficiency_f=1.15)
    assert sum(best.counts.n_key) == pytest.approx(10**6, rel=0.01)


def planned_length(params: LinkParameters, key_basis: float) -> int:
    """Of a block of 10^6 key-basis detections at QBER 0.02."""
    link = replace(LINK, error_ratio_z=0.02, error_ratio_x=0.02)
    params = replace(params, key_basis_probability=key_basis)
    params = replace(params, block_slots=slots_for_key_detections(link, params, 10**6))
    return plan_link(link, params, efficiency_f=1.12).plan.secret_length_bits


def test_why_the_demonstration_uses_weak_signals_and_many_decoys() -> None:
    """10^6 key-basis detections at 10 dB: 0.2-0.25 Mbit with these intensities, next to nothing with the usual ones and
    a key-basis probability of 0.9."""
    usual = replace(DEMO, mean_photon_numbers=(0.5, 0.15), intensity_probabilities=(0.7, 0.3))
    assert 200_000 < planned_length(DEMO, 0.8) < planned_length(DEMO, 0.7) < 250_000
    assert planned_length(usual, 0.7) < 120_000
    assert planned_length(usual, 0.9) == 0


def test_the_table_shows_every_row() -> None:
    row = plan_link(LINK, DEMO, efficiency_f=1.15)
    lines = format_table([row, row]).splitlines()
    assert len(lines) == 3
    assert all(name in lines[0] for name in COLUMNS)
    assert str(row.plan.secret_length_bits) in lines[1]


def test_arguments_are_checked() -> None:
    counts = expected_counts(LINK, DEMO)
    for bad in ({"slack_sigmas": -1.0}, {"rate_slack": 1.0}, {"error_slack": 0.6}):
        with pytest.raises(InputOutOfRange):
            plan_block(counts, DEMO, 1000, **bad)
    for change in ({"detector_efficiency": 1.2}, {"channel_loss_db": -1.0}, {"dark_count_rate_hz": -1.0}):
        with pytest.raises(InputOutOfRange):
            replace(LINK, **change)
