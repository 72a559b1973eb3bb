"""Clock relation of two stations from photon pairs, and what must be refused."""

from __future__ import annotations

import numpy as np
import pytest

from postproc.errors import InputOutOfRange, SynchronisationLost
from postproc.timing.pair_sync import PairSync, synchronise_pairs
from tests.postproc.timing.pair_light import PairLink, pair_tags

SECOND_PS = 10**12


def attempt(seed: int, link: PairLink, wander: float = 0.0, step_ps: float = 0.0, max_bins: int = 1 << 20) -> PairSync:
    """step_ps: B's clock jumps by it at 80 % of the record."""
    print(f"seed {seed}")
    a, b = pair_tags(np.random.default_rng(seed), link, 6.0, wander)
    b = np.where(b > 0.8 * 6 * SECOND_PS, b + round(step_ps), b)
    return synchronise_pairs(a, b, max_offset_ps=SECOND_PS, max_frequency=1e-5, jitter_ps=400, max_bins=max_bins)


@pytest.mark.parametrize(
    ("offset_s", "frequency", "efficiency_b"),
    [(0.87, 1e-5, 0.05), (-0.99, -1e-5, 0.05), (0.0, 0.0, 0.05), (0.123, 3.3e-6, 0.02), (-0.4, -7e-6, 0.01)],
)
def test_relation_is_found_for_any_offset_and_frequency(offset_s: float, frequency: float, efficiency_b: float) -> None:
    link = PairLink(efficiency_b=efficiency_b, offset_ps=offset_s * SECOND_PS, relative_frequency=frequency)
    found = attempt(round(100 * offset_s) + 200, link)
    relation = found.relation
    assert relation.relative_frequency == pytest.approx(frequency, abs=1e-10)
    true_offset = link.offset_ps + frequency * relation.origin_ps
    assert relation.offset_ps == pytest.approx(true_offset, abs=150)
    assert found.coarse_sigmas > 7
    assert found.confirm_sigmas > 50


@pytest.mark.parametrize("wander", [1e-11, 1e-10])
def test_clocks_may_wander(wander: float) -> None:
    link = PairLink(offset_ps=0.3 * SECOND_PS, relative_frequency=2e-6)
    found = attempt(6, link, wander=wander)
    assert found.relation.offset_ps == pytest.approx(link.offset_ps, abs=100 + 2e12 * wander)
    assert found.confirm_sigmas > 10


def test_stations_without_pairs_are_refused() -> None:
    link = PairLink(efficiency_a=1e-9, efficiency_b=1e-9, background_hz=5000.0)
    with pytest.raises(SynchronisationLost, match="no peak in the correlation"):
        attempt(7, link, max_bins=1 << 18)


def test_a_frequency_outside_the_range_is_refused() -> None:
    with pytest.raises(SynchronisationLost, match=r"no peak|lost on the way|not confirmed"):
        attempt(8, PairLink(relative_frequency=8e-5), max_bins=1 << 18)


def test_a_step_in_the_fresh_part_is_not_confirmed() -> None:
    with pytest.raises(SynchronisationLost, match="not confirmed on the last quarter"):
        attempt(9, PairLink(offset_ps=1e11), step_ps=25_000.0)


def test_records_and_arguments_are_checked() -> None:
    tags = np.arange(0, 10**13, 10**9)
    good = {"max_offset_ps": 10**12, "max_frequency": 1e-5, "jitter_ps": 400}
    for bad in (
        {"max_offset_ps": 0},
        {"max_frequency": 1e-3},
        {"jitter_ps": 0},
        {"max_bins": 100},
        {"max_offset_ps": 3 * 10**12},
    ):
        with pytest.raises(InputOutOfRange):
            synchronise_pairs(tags, tags, **{**good, **bad})
    with pytest.raises(SynchronisationLost, match="at least 1000 of each station"):
        synchronise_pairs(tags, tags[:10], **good)
