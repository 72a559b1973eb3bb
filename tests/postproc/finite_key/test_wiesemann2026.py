"""The finite-key length against an independent transcription, published numbers, and what holds for any counts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.finite_key.wiesemann2026 import ASSUMPTIONS, PROOF, binary_entropy, decoy_bounds, evaluate
from postproc.records import BlockCounts, LinkParameters
from tests.postproc.finite_key import naive

PARAMS = LinkParameters(
    link_id="test", protocol="bb84-one-decoy", slot_rate_hz=625e6, mean_photon_numbers=(0.51, 0.15),
    intensity_probabilities=(0.7, 0.3), key_basis_probability=0.75, block_slots=10**8, sync_string_slots=1 << 18,
    eps_sec=1e-9, eps_cor=1e-15, proof=PROOF, qber_z_limit=0.05, qber_x_limit=0.05, common_dead_time_ps=25_000,
)  # fmt: skip
PUBLISHED = BlockCounts((8875913, 1124087), (165048, 20902), (185856, 26055), (3456, 484))
PUBLISHED_FILE = Path(__file__).parents[4] / "shared" / "data" / "published_key_rates.json"


def naive_length(counts: BlockCounts, params: LinkParameters, leak: int, hash_bits: int) -> tuple[Decimal, ...]:
    return naive.wiesemann_length(
        counts,
        params.mean_photon_numbers,
        params.intensity_probabilities,
        params.eps_sec,
        params.eps_cor,
        leak,
        hash_bits,
    )


def older_length(most_errors: int) -> int:
    return math.floor(naive.rusca_length(PUBLISHED, (0.51, 0.15), (0.7, 0.3), 1e-9, 1e-15, 1776924, most_errors))


def test_the_twin_reproduces_the_published_vector_of_the_older_analysis() -> None:
    """l = 1464719 by interval arithmetic (A. Baliuka, FormalQKD); clip of the errors as there."""
    assert older_length(most_errors=sum(PUBLISHED.n_test)) == 1464719


@pytest.mark.skipif(not PUBLISHED_FILE.exists(), reason="../shared/data/published_key_rates.json is not here")
def test_the_vector_above_is_the_one_in_the_shared_collection() -> None:
    rows = {row["id"]: row for row in json.loads(PUBLISHED_FILE.read_text())["rows"]}
    row = rows["formalqkd-rusca-1"]
    assert (tuple(row["inputs"]["nK"]), tuple(row["inputs"]["mK"])) == (PUBLISHED.n_key, PUBLISHED.m_key)
    assert (tuple(row["inputs"]["nT"]), tuple(row["inputs"]["mT"])) == (PUBLISHED.n_test, PUBLISHED.m_test)
    assert row["expected"]["l"] == 1464719


def test_published_counts_under_this_proof() -> None:
    """Serfling and the dropped vacuum term cost about a tenth against the older analysis with the same clips."""
    result = evaluate(PUBLISHED, PARAMS, 1776924, 0)
    assert result.observed_length_bits == math.floor(naive_length(PUBLISHED, PARAMS, 1776924, 0)[0])
    assert 0.85 < result.observed_length_bits / older_length(most_errors=sum(PUBLISHED.m_test)) < 0.95


def a_block(n_key: tuple[int, int], n_test: tuple[int, int], errors: tuple[float, ...]) -> BlockCounts:
    m_key = tuple(int(n * e) for n, e in zip(n_key, errors[:2], strict=True))
    return BlockCounts(n_key, n_test, m_key, tuple(int(n * e) for n, e in zip(n_test, errors[2:], strict=True)))


any_counts = st.builds(
    a_block,
    st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)),
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    st.tuples(*[st.floats(0, 0.6)] * 4),
)
plausible = st.builds(
    lambda n, decoy, q, e_z, e_x: a_block((n, int(n * decoy)), (int(n * q), int(n * decoy * q)), (e_z, e_z, e_x, e_x)),
    st.integers(10**5, 10**7),
    st.floats(0.13, 0.2),
    st.floats(0.02, 1.0),
    st.floats(0, 0.03),
    st.floats(0, 0.04),
)


@given(st.one_of(any_counts, plausible), st.integers(0, 10**6), st.integers(0, 256))
def test_equals_the_slow_twin(counts: BlockCounts, leak: int, verification: int) -> None:
    exact, single, phase = naive_length(counts, PARAMS, leak, verification)
    result = evaluate(counts, PARAMS, leak, verification)
    assert result.single_photon_key == pytest.approx(float(single), rel=1e-9, abs=1)
    assert result.phase_error_bound == pytest.approx(float(phase), rel=1e-9)
    assert abs(result.observed_length_bits - max(0, math.floor(exact))) <= 1
    assert 0 <= result.phase_error_bound <= 0.5
    assert result.observed_length_bits >= 0


@given(plausible, st.sampled_from(["m_key", "m_test"]), st.integers(0, 1), st.integers(1, 10**5))
def test_more_errors_never_give_more_key(counts: BlockCounts, which: str, k: int, more: int) -> None:
    errors = list(getattr(counts, which))
    limit = (counts.n_key if which == "m_key" else counts.n_test)[k]
    if which == "m_test" and k == 1:  # decoy errors alone lower the bound on single-photon errors: move both classes
        errors[0] = min(counts.n_test[0], errors[0] + 5 * more)
    errors[k] = min(limit, errors[k] + more)
    worse = replace(counts, **{which: tuple(errors)})
    leak = 100_000
    assert (
        evaluate(worse, PARAMS, leak, 128).observed_length_bits
        <= evaluate(counts, PARAMS, leak, 128).observed_length_bits
    )


@given(plausible, st.integers(0, 10**6), st.integers(0, 10**4))
def test_every_leaked_bit_costs_one(counts: BlockCounts, leak: int, more: int) -> None:
    without, with_it = (evaluate(counts, PARAMS, bits, 128).observed_length_bits for bits in (leak, leak + more))
    assert with_it == max(0, without - more) or without == 0


@given(plausible, st.sampled_from([1e-6, 1e-9, 1e-12]))
def test_more_security_costs_key(counts: BlockCounts, eps: float) -> None:
    stricter = evaluate(counts, replace(PARAMS, eps_sec=eps / 10), 0, 128).observed_length_bits
    assert stricter <= evaluate(counts, replace(PARAMS, eps_sec=eps), 0, 128).observed_length_bits


def test_verification_is_charged_by_its_length_or_by_the_proofs_term_whichever_is_more() -> None:
    full = evaluate(PUBLISHED, PARAMS, 0, 0).observed_length_bits
    assert full - evaluate(PUBLISHED, PARAMS, 0, 50).observed_length_bits == 0  # log2(2/1e-15) = 50.8
    assert full - evaluate(PUBLISHED, PARAMS, 0, 128).observed_length_bits in (77, 78)


def test_no_counts_no_key() -> None:
    result = evaluate(BlockCounts((0, 0), (0, 0), (0, 0), (0, 0)), PARAMS, 0, 128)
    assert (result.observed_length_bits, result.single_photon_key, result.phase_error_bound) == (0, 0, 0.5)


def test_photon_number_splitting_leaves_nothing() -> None:
    """All single photons blocked, multi-photon pulses passed: decoy and signal rates scale as mu^2, errors stay low."""
    n = 10**6
    mu_1, mu_2 = PARAMS.mean_photon_numbers
    share = [
        p * (1 - math.exp(-m) * (1 + m)) for p, m in zip(PARAMS.intensity_probabilities, (mu_1, mu_2), strict=True)
    ]
    n_key = tuple(round(n * s / sum(share)) for s in share)
    counts = BlockCounts(n_key, n_key, tuple(k // 200 for k in n_key), tuple(k // 200 for k in n_key))
    assert evaluate(counts, PARAMS, 0, 128).observed_length_bits == 0


def test_intercept_and_resend_leaves_nothing() -> None:
    counts = BlockCounts((850_000, 150_000), (85_000, 15_000), (212_500, 37_500), (21_250, 3_750))
    assert evaluate(counts, PARAMS, 0, 128).observed_length_bits == 0


def test_bounds_hold_in_simulated_blocks_with_known_photon_numbers() -> None:
    """4000 blocks tagged by photon number at eps_sec = 0.1, 0.0067 per bound: none may fail more often than that."""
    rng = np.random.default_rng(1)
    params = replace(PARAMS, eps_sec=0.0999)
    mu, p = np.array(params.mean_photon_numbers), np.array(params.intensity_probabilities)
    sent, eta, dark = 2_000_000, 0.02, 2e-5
    trials, failures = 4000, np.zeros(3, int)
    photons = np.arange(8)
    poisson = np.exp(-mu[:, None]) * mu[:, None] ** photons / np.array([math.factorial(k) for k in photons])
    yields = 1 - (1 - dark) * (1 - eta) ** photons
    wrong = (dark / 2 + (yields - dark) * 0.02) / yields
    detections = rng.poisson(sent * p[None, :, None] * poisson * yields, (trials, 2, 8))
    errors = rng.binomial(detections, wrong)
    for n, m in zip(detections, errors, strict=True):
        bound = decoy_bounds(tuple(n.sum(1).tolist()), tuple(m.sum(1).tolist()), params)
        failures += (
            n[:, 0].sum() > bound.vacuum_upper,
            n[:, 1].sum() < bound.single_photon_lower,
            m[:, 1].sum() > bound.single_photon_errors_upper,
        )
    assert (failures <= 4 * (0.0999 / 15) * trials).all(), failures
    assert bound.single_photon_lower > 0.5 * n[:, 1].sum()


@pytest.mark.parametrize(
    "change",
    [{"mean_photon_numbers": (0.1, 0.5)}, {"mean_photon_numbers": (0.5, 0.0)}, {"intensity_probabilities": (0.7, 0.4)},
     {"intensity_probabilities": (1.0, 0.0)}, {"eps_sec": 0.0}, {"eps_cor": 1.0}],
)  # fmt: skip
def test_parameters_outside_the_proof_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputOutOfRange):
        evaluate(PUBLISHED, replace(PARAMS, **change), 0, 128)  # type: ignore[arg-type]


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InputOutOfRange):
        evaluate(replace(PUBLISHED, m_key=(10**8, 0)), PARAMS, 0, 128)
    with pytest.raises(InputOutOfRange):
        evaluate(replace(PUBLISHED, n_test=(1, 2, 3)), PARAMS, 0, 128)
    with pytest.raises(InputOutOfRange):
        evaluate(PUBLISHED, PARAMS, -1, 128)


def test_entropy_and_assumptions() -> None:
    assert binary_entropy(0.0) == 0.0
    assert binary_entropy(0.11) == pytest.approx(0.499916, abs=1e-6)
    assert binary_entropy(0.7) == 1.0
    text = " ".join(ASSUMPTIONS)
    for word in ("phases", "basis", "authentic", "dead time", "fixed before"):
        assert word in text
