"""The tool that designs the codes: known thresholds, its kernel against a slow twin, and the shipped designs."""

import numpy as np
import pytest

from benchmarks.density_evolution import DensityEvolution, h2, qber_of, threshold_f
from benchmarks.ldpc_design import shipped
from benchmarks.reconcile import finite_length_bound
from postproc.reconciliation.ensembles import designs


def test_threshold_of_the_regular_3_6_ensemble() -> None:
    """Richardson and Urbanke 2001, table II: 0.084."""
    f = threshold_f({3: 1.0}, 0.5, tolerance=0.004)
    assert qber_of(0.5 / f) == pytest.approx(0.084, abs=6e-4)


def test_boxplus_matches_the_naive_twin_and_preserves_entropy() -> None:
    evolution = DensityEvolution(0.1, 8, step=0.8, largest=12)
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.ones(evolution.last + 1), 2)
    llr = np.arange(evolution.last + 1) * np.log(9) / evolution.channel_index
    expected = 0.0
    for i, x in enumerate(llr):
        for j, y in enumerate(llr):
            p_wrong = 1 / (1 + np.exp(2 * np.arctanh(min(np.tanh(x / 2) * np.tanh(y / 2), 1 - 1e-15))))
            expected += a[i] * b[j] * h2(p_wrong)
    found = evolution._boxplus(a, b)
    assert found.sum() == pytest.approx(1)
    assert found @ evolution.entropy == pytest.approx(expected, rel=1e-6)


def test_columns_add_independent_messages() -> None:
    evolution = DensityEvolution(0.1, 8, step=0.8, largest=12)
    erased = np.zeros(evolution.last + 1)
    erased[0] = 1
    once, twice = evolution.columns(erased, [2, 3])
    assert once @ evolution.entropy == pytest.approx(h2(0.1))
    assert twice == pytest.approx(once)
    repeated = evolution.columns(evolution.start(), [2])[0] @ evolution.entropy
    agree = 0.9**2 + 0.1**2
    assert repeated == pytest.approx(agree * h2(0.9**2 / agree) + 1 - agree)


@pytest.mark.parametrize("design", [designs()[2], designs()[-1]], ids=lambda d: f"q{d.qber}")
def test_shipped_thresholds_are_those_of_density_evolution(design) -> None:
    degrees = shipped(design)
    check_degree = 1 / (design.leakage * sum(share / d for d, share in degrees.items()))
    for f, converges in ((design.threshold_f * 1.003, True), (design.threshold_f * 0.997, False)):
        evolution = DensityEvolution(qber_of(design.leakage / f), max(degrees))
        assert evolution.run(degrees, check_degree, 700).is_converged == converges


def test_finite_length_bound_at_the_published_points() -> None:
    for n, qber, f in ((10**6, 0.01, 1.019), (10**6, 0.05, 1.008), (10**5, 0.02, 1.040), (10**4, 0.03, 1.099)):
        assert finite_length_bound(n, qber, 1e-2) == pytest.approx(f, abs=6e-4)
