"""Sources known within intervals: every source in the box is covered, slot by slot, and no width means no cost."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.finite_key import one_decoy, one_decoy_interval, wiesemann2026
from postproc.finite_key.one_decoy_interval import SourceBox, around
from postproc.finite_key.proof import Source
from postproc.records import BlockCounts

SOURCE = Source((0.4, 0.16), (0.4, 0.6), 1e-10, 1e-15)
PHOTONS = np.arange(12)
FACTORIALS = np.array([math.factorial(k) for k in PHOTONS], float)
NO_DEVIATION = 1 - 1e-12  # as failure probability: counts are taken for expectations
means = st.tuples(st.floats(0.02, 1.9), st.floats(0.02, 1.9)).map(sorted).filter(lambda pair: pair[0] < 0.9 * pair[1])
situations = st.builds(
    lambda n, share, e: BlockCounts(
        (n, int(n * share)), (n // 5, int(n * share) // 5), (int(n * e), int(n * share * e)),
        (int(n // 5 * e), int(int(n * share) // 5 * e)),
    ),
    st.integers(10**5, 10**8), st.floats(0.3, 1.0), st.floats(0, 0.04),
)  # fmt: skip


@given(means, st.floats(0.05, 0.95), situations)
def test_without_width_it_is_the_point_formula(pair: list[float], p_1: float, counts: BlockCounts) -> None:
    source = Source((pair[1], pair[0]), (p_1, 1 - p_1), 1e-10, 1e-15)
    point = one_decoy.bounds(counts.n_key, counts.m_key, source, 1e-11)
    box = one_decoy_interval.bounds(counts.n_key, counts.m_key, around(source, 0.0), 1e-11)
    scale = sum(counts.n_key)
    assert box.vacuum_upper == pytest.approx(point.vacuum_upper, rel=1e-9)
    assert box.single_photon_lower == pytest.approx(point.single_photon_lower, rel=1e-6, abs=1e-6 * scale)
    assert box.single_photon_errors_upper == pytest.approx(point.single_photon_errors_upper, rel=1e-6, abs=1e-3)


@given(means, st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.05, 0.9), st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_every_attack_on_every_source_in_the_box_is_covered(
    pair: list[float], width: float, p_width: float, p_1: float, seed: int
) -> None:
    """Slots of five kinds, each with its own intensities from the box (corners included), and for each kind and photon
    number yields and errors that an attacker may choose. Counts are their exact expectations."""
    rng = np.random.default_rng(seed)
    low, high = pair
    gap = (high - low) * width
    p_range = (p_1 * (1 - p_width), min(0.97, p_1 * (1 + p_width)))
    box = SourceBox(
        (high - gap / 2, min(2.0, high + gap / 2)), (low * (1 - width / 2), low + gap / 2), p_range, 1e-9, 1e-15
    )
    signal_probability = rng.choice([*p_range, rng.uniform(*p_range)])
    n, m = np.zeros(2), np.zeros(2)
    vacuum = single = single_errors = 0.0
    for _ in range(5):
        mu = [rng.choice([*r, rng.uniform(*r)]) for r in (box.signal_mean, box.decoy_mean)]
        joint = np.array([p * math.exp(-k) * k**PHOTONS / FACTORIALS
                          for p, k in zip((signal_probability, 1 - signal_probability), mu, strict=True)])  # fmt: skip
        detected = joint.sum(0) * rng.random(PHOTONS.size) ** rng.choice([1, 8])
        wrong = detected * rng.choice([0.0, 0.5, rng.random()], PHOTONS.size)
        wrong[0] = detected[0] / 2
        of_class = joint / joint.sum(0)
        n += of_class @ detected
        m += of_class @ wrong
        vacuum, single, single_errors = vacuum + detected[0], single + detected[1], single_errors + wrong[1]
    scale = 1e12
    found = one_decoy_interval.bounds(
        tuple(round(scale * x) for x in n), tuple(round(scale * x) for x in m), box, NO_DEVIATION
    )
    tolerance = 1e-5 * scale * n.sum()
    assert found.vacuum_upper >= scale * vacuum - tolerance
    assert found.single_photon_lower <= scale * single + tolerance
    assert found.single_photon_errors_upper >= scale * single_errors - tolerance


@given(situations, st.floats(0, 0.1), st.floats(0, 0.1))
def test_less_knowledge_never_gives_more_key(counts: BlockCounts, width: float, more: float) -> None:
    lengths = [one_decoy_interval.evaluate(counts, around(SOURCE, w, w / 2), 1000, 128).observed_length_bits
               for w in (width, width + more)]  # fmt: skip
    assert lengths[1] <= lengths[0]


def test_what_an_uncertainty_costs() -> None:
    """A block of the demonstration: 1 % costs 5-6 %, 2 % eleven, 5 % thirty."""
    counts = BlockCounts((650_000, 390_000), (64_000, 38_500), (6_600, 4_000), (970, 590))
    exact = wiesemann2026.evaluate(counts, SOURCE, 100_000, 128).observed_length_bits
    price = [1 - one_decoy_interval.evaluate(counts, around(SOURCE, u), 100_000, 128).observed_length_bits / exact
             for u in (0.0, 0.01, 0.02, 0.05)]  # fmt: skip
    assert price[0] == pytest.approx(0, abs=1e-5)
    assert price == sorted(price)
    assert 0.03 < price[1] < 0.08
    assert price[3] < 0.5


def test_boxes_that_mean_nothing_are_refused() -> None:
    good = around(SOURCE, 0.01)
    for change in ({"signal_mean": (0.5, 0.4)}, {"decoy_mean": (0.1, 0.45)}, {"decoy_mean": (0.0, 0.1)},
                   {"signal_mean": (0.4, 2.5)}, {"signal_probability": (0.5, 1.0)}):  # fmt: skip
        with pytest.raises(InputOutOfRange):
            replace(good, **change)  # type: ignore[arg-type]
    for uncertainty in (-0.1, 1.0, 0.5):
        with pytest.raises(InputOutOfRange):
            around(SOURCE, uncertainty)
    with pytest.raises(InputOutOfRange):
        one_decoy_interval.evaluate(BlockCounts((1, 1), (1, 1), (2, 0), (0, 0)), good, 0, 128)
