"""Rate against distance: below the repeaterless bound, falling, and each line a plan of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from postproc.errors import InputOutOfRange
from postproc.finite_key.planning import plan_link
from postproc.finite_key.reach import COLUMNS, BlockRule, plob_bits_per_mode, rate_against_distance, table_row
from tests.postproc.finite_key.test_planning import DEMO, LINK

RULE = BlockRule(key_detections=1_000_000, efficiency_f=1.15)
DISTANCES = (25.0, 100.0, 200.0, 400.0)


def test_the_bound() -> None:
    """One half transmitted: one bit per mode; small transmittances: 1.44 bits per photon."""
    assert plob_bits_per_mode(0.5) == pytest.approx(1.0)
    assert plob_bits_per_mode(1e-9) == pytest.approx(1e-9 / math.log(2))
    assert plob_bits_per_mode(0.0) == 0.0
    for transmittance in (1.0, -0.1):
        with pytest.raises(InputOutOfRange):
            plob_bits_per_mode(transmittance)


def test_rates_fall_with_distance_and_stay_below_the_bound() -> None:
    points = rate_against_distance(LINK, DEMO, reversed(DISTANCES), RULE, fibre_db_per_km=0.2)
    assert [point.distance_km for point in points] == list(DISTANCES)
    rates = [point.row.secret_rate_bps for point in points]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0 < rates[-2]
    for point in points:
        assert point.row.secret_rate_bps < 0.02 * point.plob_bps
        assert point.row.model.channel_loss_db == pytest.approx(0.2 * point.distance_km)
        assert point.interval_length_bits == pytest.approx(point.row.observed_length_bits, abs=2)  # no uncertainty
        assert point.row == plan_link(point.row.model, point.row.params, efficiency_f=1.15)
        assert len(table_row(point)) == len(COLUMNS)


def test_optimised_parameters_beat_fixed_ones_everywhere() -> None:
    for point in rate_against_distance(LINK, DEMO, DISTANCES[:3], RULE, fibre_db_per_km=0.2):
        model = replace(LINK, channel_loss_db=point.row.model.channel_loss_db)
        slots = round(point.row.params.block_slots / 1e6) * 10**6
        fixed = plan_link(model, replace(DEMO, block_slots=slots), efficiency_f=1.15)
        assert point.row.secret_rate_bps >= fixed.secret_rate_bps


def test_the_lines_between_make_no_difference() -> None:
    """A far line is found whether or not near ones were asked for."""
    (far,) = rate_against_distance(LINK, DEMO, [210.0], RULE, fibre_db_per_km=0.2)
    many = rate_against_distance(LINK, DEMO, range(10, 220, 10), RULE, fibre_db_per_km=0.2)
    two = rate_against_distance(LINK, DEMO, [50.0, 210.0], RULE, fibre_db_per_km=0.2)
    assert two[-1].row.secret_rate_bps == pytest.approx(many[-1].row.secret_rate_bps, rel=0.03)
    assert far.row.secret_rate_bps == pytest.approx(many[-1].row.secret_rate_bps, rel=0.03)


def test_uncertain_intensities_cost_key() -> None:
    (point,) = rate_against_distance(LINK, DEMO, [50.0], RULE, fibre_db_per_km=0.2, mean_uncertainty=0.02)
    assert 0.8 < point.interval_length_bits / point.row.observed_length_bits < 0.95


@pytest.mark.parametrize(("distances", "loss"), [([], 0.2), ([0.0, 10.0], 0.2), ([10.0], 0.0)])
def test_what_has_no_bound_is_refused(distances: list[float], loss: float) -> None:
    with pytest.raises(InputOutOfRange):
        rate_against_distance(LINK, DEMO, distances, RULE, fibre_db_per_km=loss)
