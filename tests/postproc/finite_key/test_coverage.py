"""Simulated blocks in which every detection knows its photon number: bounds fail no more often than eps says.

At eps = 0.05 to 0.9, so that failures could be seen; an attacker's yields as well as a lossy channel's. The
events counted are those that the proofs bound: true numbers of single photons and of their errors, the true phase error
ratio of the key basis, whose errors are never measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from postproc.finite_key import lim2014, one_decoy, one_decoy_interval, sampling, two_decoys
from postproc.finite_key.bbm92 import exact_phase_error, serfling_phase_error
from postproc.finite_key.concentration import chernoff_interval, hoeffding_interval
from postproc.finite_key.one_decoy_interval import around
from postproc.finite_key.proof import Source

TRIALS = 10_000
PHOTONS = np.arange(9)
FACTORIALS = np.array([math.factorial(k) for k in PHOTONS], float)
ONE = Source((0.45, 0.15), (0.6, 0.4), 0.09, 1e-15)
TWO = Source((0.45, 0.15, 0.001), (0.6, 0.25, 0.15), 0.09, 1e-15)
LOSSY = 1 - (1 - 3e-5) * (1 - 0.03) ** PHOTONS
SPLITTING = np.where(PHOTONS >= 2, 0.05, np.where(PHOTONS == 1, 0.02, 2e-5))  # multi-photon pulses favoured
WORST = np.where(PHOTONS == 1, 0.02, 0.0)  # single photons alone: the bound of their errors is an equality
yields = pytest.mark.parametrize("law", [LOSSY, SPLITTING, WORST], ids=["lossy", "splitting", "worst"])


@dataclass(frozen=True, slots=True)
class Blocks:
    """TRIALS blocks: true detections and errors [trial, photon number], their classes [trial, class]."""

    detections: NDArray[np.int64]
    errors: NDArray[np.int64]
    n: NDArray[np.int64]
    m: NDArray[np.int64]


def blocks(seed: int, source: Source, law: NDArray[np.float64], pulses: int, error: float) -> Blocks:
    """Photon numbers first, then errors, then classes: the class of a detection depends on its photon number alone."""
    rng = np.random.default_rng(seed)
    mu, p = np.array(source.mean_photon_numbers), np.array(source.intensity_probabilities)
    joint = p[:, None] * np.exp(-mu[:, None]) * mu[:, None] ** PHOTONS / FACTORIALS
    detections = rng.poisson(pulses * joint.sum(0) * law, (TRIALS, PHOTONS.size))
    ratio = np.full(PHOTONS.size, error)
    ratio[0] = 0.5
    errors = rng.binomial(detections, ratio)
    of_class = (joint / joint.sum(0)).T
    wrong = np.stack([rng.multinomial(errors[:, k], of_class[k]) for k in PHOTONS]).sum(0)
    right = np.stack([rng.multinomial(detections[:, k] - errors[:, k], of_class[k]) for k in PHOTONS]).sum(0)
    return Blocks(detections, errors, wrong + right, wrong)


def ints(row: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(row.tolist())


def allowed(probability: float) -> float:
    """Failures in TRIALS that are within four standard deviations of what is promised."""
    expected = probability * TRIALS
    return expected + 4 * math.sqrt(expected)


@yields
@pytest.mark.parametrize("eps", [0.3, 0.05])
def test_one_decoy(law: NDArray[np.float64], eps: float) -> None:
    """Vacuum: 2 deviations (errors of one class, half of the vacuum); the minimum over classes may add one; single
    photons: 2 more of detections; errors: 2."""
    seen = blocks(1, ONE, law, 300_000, 0.03)
    failures = np.zeros(3, int)
    for detections, errors, n, m in zip(seen.detections, seen.errors, seen.n, seen.m, strict=True):
        bound = one_decoy.bounds(ints(n), ints(m), ONE, eps)
        failures += (
            detections[0] > bound.vacuum_upper,
            detections[1] < bound.single_photon_lower,
            errors[1] > bound.single_photon_errors_upper,
        )
    for failed, events in zip(failures, (3, 5, 2), strict=True):
        assert failed <= allowed(min(1.0, events * eps)), failures
    if eps == 0.3 and law is WORST:
        assert failures[2] > 0.01 * TRIALS  # it does fail: what is tested is not out of reach


@yields
@pytest.mark.parametrize("interval", [hoeffding_interval, chernoff_interval])
def test_two_decoys(law: NDArray[np.float64], interval: object) -> None:
    eps = 0.05
    seen = blocks(2, TWO, law, 300_000, 0.03)
    failures = np.zeros(3, int)
    for detections, errors, n, m in zip(seen.detections, seen.errors, seen.n, seen.m, strict=True):
        bound = two_decoys.bounds(ints(n), ints(m), TWO, eps, interval)  # type: ignore[arg-type]
        failures += (
            detections[0] < bound.vacuum_lower,
            detections[1] < bound.single_photon_lower,
            errors[1] > bound.single_photon_errors_upper,
        )
    for failed, events in zip(failures, (2, 5, 2), strict=True):
        assert failed <= allowed(events * eps), failures


@yields
def test_a_source_within_its_intervals(law: NDArray[np.float64]) -> None:
    """The true source sits in a corner of the box that the proof knows."""
    eps = 0.05
    seen = blocks(3, ONE, law, 300_000, 0.03)
    box = around(Source((0.45 / 1.03, 0.15 / 0.97), (0.6, 0.4), 0.09, 1e-15), 0.031)
    failures = np.zeros(2, int)
    for detections, errors, n, m in zip(seen.detections, seen.errors, seen.n, seen.m, strict=True):
        bound = one_decoy_interval.bounds(ints(n), ints(m), box, eps)
        failures += (detections[1] < bound.single_photon_lower, errors[1] > bound.single_photon_errors_upper)
    assert (failures <= allowed(5 * eps)).all(), failures


@pytest.mark.parametrize(("key_pulses", "test_pulses"), [(200_000, 40_000), (60_000, 60_000)])
def test_the_phase_error_bound_of_a_whole_block(key_pulses: int, test_pulses: int) -> None:
    """Errors of single photons in K as they would have been in T: drawn with the same ratio, seen by no one. Every
    deviation at eps: all bounds of `lim2014-serfling` together may fail with 12 of them, and sampling with eps^2."""
    eps = 0.01
    key, test = blocks(4, TWO, LOSSY, key_pulses, 0.04), blocks(5, TWO, LOSSY, test_pulses, 0.04)
    failed = 0
    for k in range(TRIALS):
        in_key = two_decoys.bounds(ints(key.n[k]), ints(key.m[k]), TWO, eps, hoeffding_interval)
        in_test = two_decoys.bounds(ints(test.n[k]), ints(test.m[k]), TWO, eps, hoeffding_interval)
        s_key, s_test = in_key.single_photon_lower, in_test.single_photon_lower
        phase = 0.5
        if min(s_key, s_test) > 0:
            excess = sampling.serfling_excess(s_key, s_test, eps)
            phase = min(0.5, in_test.single_photon_errors_upper / s_test + excess)
        failed += key.errors[k, 1] / max(1, key.detections[k, 1]) > phase
        failed += key.detections[k, 1] < s_key
    assert failed <= allowed(lim2014.EPSILON_SHARES[2][1] * eps)


@pytest.mark.parametrize("eps_pe", [0.9, 0.3])
@pytest.mark.parametrize("bound", [serfling_phase_error, exact_phase_error])
def test_entangled_pairs(eps_pe: float, bound: object) -> None:
    """Test bits drawn without replacement from 1500 bits with 75 errors: excess rarer than (eps_pe / 2)^2."""
    rng = np.random.default_rng(6)
    key_bits, test_bits, errors = 1000, 500, 75
    seen = rng.hypergeometric(errors, key_bits + test_bits - errors, test_bits, 40_000)
    values, times = np.unique(seen, return_counts=True)
    failed = sum(
        int(t) for v, t in zip(values, times, strict=True)
        if (errors - v) / key_bits > bound(key_bits, test_bits, int(v), eps_pe)  # type: ignore[operator]
    )  # fmt: skip
    promised = (eps_pe / 2) ** 2 * seen.size
    assert failed <= promised + 4 * math.sqrt(promised)
    if bound is exact_phase_error:
        assert failed > 0.05 * promised  # and not much rarer: the exact bound gives little away
