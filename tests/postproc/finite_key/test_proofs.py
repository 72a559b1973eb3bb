"""The register of proofs: what each says about itself, which of them a node accepts, and laws that hold for all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postproc.errors import InputOutOfRange
from postproc.finite_key import lim2014, rusca2018, two_decoys, wiesemann2026
from postproc.finite_key.concentration import hoeffding_interval
from postproc.finite_key.planning import plan_link
from postproc.finite_key.proof import LengthMode, Proof, Source
from postproc.finite_key.proofs import DEFAULTS, PLANNED, PROOFS, key_proof, named
from postproc.records import BlockCounts
from postproc.session.acceptance import judge
from postproc.session.leakage import LeakageLedger
from tests.postproc.finite_key import naive
from tests.postproc.finite_key.test_planning import DEMO, LINK

SOURCES = {
    1: Source((), (), 1e-9, 1e-15),
    2: Source((0.45, 0.15), (0.6, 0.4), 1e-9, 1e-15),
    3: Source((0.45, 0.15, 1e-3), (0.6, 0.25, 0.15), 1e-9, 1e-15),
}
proofs = pytest.mark.parametrize("proof", PROOFS.values(), ids=lambda proof: proof.id)


def counts_of(proof: Proof, detections: float, test_share: float, error: float) -> BlockCounts:
    """What a lossy channel gives: detections in proportion to the light, errors in proportion to detections."""
    source = SOURCES[proof.intensities]
    light = [p * mu for mu, p in zip(source.mean_photon_numbers, source.intensity_probabilities, strict=True)] or [1.0]
    n_key = tuple(int(detections * x / sum(light)) for x in light)
    n_test = tuple(int(test_share * n) for n in n_key)
    return BlockCounts(
        n_key, n_test, tuple(math.ceil(error * n) for n in n_key), tuple(math.ceil(error * n) for n in n_test)
    )


def length(proof: Proof, counts: BlockCounts, leak: int = 0, source: Source | None = None) -> int:
    return proof.evaluate(counts, source or SOURCES[proof.intensities], leak, 128).observed_length_bits


@proofs
def test_every_proof_says_what_it_claims(proof: Proof) -> None:
    assert proof.name == f"{proof.id}/{proof.version}"
    assert PROOFS[proof.name] is proof
    assert len(proof.assumptions) > 4
    assert proof.clips
    assert "20" in proof.source
    assert sum(shares for _, shares in proof.epsilon_shares) > 0
    result = proof.evaluate(counts_of(proof, 1e6, 0.2, 0.01), SOURCES[proof.intensities], 10**5, 128)
    assert (result.proof, result.assumptions) == (proof.name, proof.assumptions)
    assert 0 < result.observed_length_bits < 10**6


def test_shares_are_those_of_the_formulas() -> None:
    for proof, terms in ((lim2014.DESCRIPTION, lim2014.EPS_TERMS), (lim2014.LEGACY, lim2014.EPS_TERMS),
                         (rusca2018.DESCRIPTION, rusca2018.EPS_TERMS)):  # fmt: skip
        assert sum(shares for _, shares in proof.epsilon_shares) == terms


def test_a_node_distils_key_with_the_planned_proof_only() -> None:
    assert key_proof("wiesemann2026/1") is PLANNED is wiesemann2026.DESCRIPTION
    for name, reason in (
        ("lim2014/1", "reproducing papers only"), ("rusca2018/1", "reproducing papers only"),
        ("one-decoy-variable/1", "variable length"), ("lim2014-serfling/1", "3 intensities"),
        ("tomamichel-leverrier2017/1", "1 intensities"), ("nonsense", "unknown proof"),
    ):  # fmt: skip
        with pytest.raises(InputOutOfRange, match=reason):
            key_proof(name)


@pytest.mark.parametrize("name", ["lim2014/1", "rusca2018/1", "one-decoy-variable/1", "lim2014-serfling/1"])
def test_neither_planning_nor_acceptance_takes_another_proof(name: str) -> None:
    """A node with such a configuration does not start; a peer that proposed one would not be judged by it."""
    params = replace(DEMO, proof=name)
    with pytest.raises(InputOutOfRange, match=name):
        plan_link(LINK, params, efficiency_f=1.15)
    row = plan_link(LINK, DEMO, efficiency_f=1.15)
    with pytest.raises(InputOutOfRange, match=name):
        judge(row.counts, params, row.plan, LeakageLedger(1))


def test_defaults_are_for_key_and_of_fixed_length() -> None:
    for intensities, proof in DEFAULTS.items():
        assert proof.intensities == intensities
        assert proof.is_for_key
        assert proof.mode is LengthMode.FIXED
    assert named("lim2014/1").assumptions[0] != named("lim2014-serfling/1").assumptions[0]


few = settings(max_examples=40, deadline=None)  # per proof; an exact tail takes 0.1 s
honest = st.tuples(st.floats(1e5, 1e7), st.floats(0.02, 1.0), st.floats(0, 0.03))


def growing(proof: Proof, situation: tuple[float, float, float]) -> Iterator[BlockCounts]:
    """The same link for a block twice, four times ... as long: same ratios, more counts."""
    detections, share, error = situation
    counts = counts_of(proof, detections, share, error)
    for factor in (1, 2, 4, 8):
        yield BlockCounts(*(tuple(factor * x for x in values) for values in (
            counts.n_key, counts.n_test, counts.m_key, counts.m_test)))  # fmt: skip


@proofs
@few
@given(honest)
def test_longer_blocks_give_more_key_per_detection(proof: Proof, situation: tuple[float, float, float]) -> None:
    fractions = [length(proof, counts) / sum(counts.n_key) for counts in growing(proof, situation)]
    for shorter, longer, counts in zip(fractions, fractions[1:], list(growing(proof, situation))[1:], strict=False):
        assert longer >= shorter - 2 / sum(counts.n_key)  # lengths are rounded down


@proofs
@few
@given(honest, st.integers(1, 10**6))
def test_more_test_errors_never_give_more_key(proof: Proof, situation: tuple[float, float, float], more: int) -> None:
    """Of the class whose errors bound the single-photon errors from above; the weakest class does so from below."""
    counts = counts_of(proof, *situation)
    k = 1 if proof.intensities == 3 else 0
    worse = list(counts.m_test)
    worse[k] = min(counts.n_test[k], worse[k] + more)
    assert length(proof, replace(counts, m_test=tuple(worse))) <= length(proof, counts)


@proofs
@few
@given(honest, st.integers(0, 10**6), st.integers(0, 10**4))
def test_every_leaked_bit_costs_one(proof: Proof, situation: tuple[float, float, float], leak: int, more: int) -> None:
    counts = counts_of(proof, *situation)
    without, with_it = length(proof, counts, leak), length(proof, counts, leak + more)
    assert abs(with_it - (without - more)) <= 1 or with_it == 0


@proofs
@few
@given(honest, st.sampled_from([1e-5, 1e-9, 1e-12]))
def test_more_security_costs_key(proof: Proof, situation: tuple[float, float, float], eps: float) -> None:
    counts, source = counts_of(proof, *situation), SOURCES[proof.intensities]
    strict, loose = (length(proof, counts, 0, replace(source, eps_sec=e)) for e in (eps / 10, eps))
    assert strict <= loose


@given(honest)
def test_the_legacy_analyses_claim_more(situation: tuple[float, float, float]) -> None:
    """For two decoys, where the sampling term is the only difference."""
    counts = counts_of(lim2014.DESCRIPTION, *situation)
    assert length(lim2014.LEGACY, counts) >= length(lim2014.DESCRIPTION, counts)


class_counts = st.tuples(*[st.integers(0, 10**7)] * 3)


@given(class_counts, class_counts, st.tuples(*[st.floats(0, 0.5)] * 6), st.integers(0, 10**6))
def test_two_decoys_equal_the_slow_twin(
    n_key: tuple[int, ...], n_test: tuple[int, ...], ratios: tuple[float, ...], leak: int
) -> None:
    m_key = tuple(int(n * e) for n, e in zip(n_key, ratios[:3], strict=True))
    m_test = tuple(int(n * e) for n, e in zip(n_test, ratios[3:], strict=True))
    counts, source = BlockCounts(n_key, n_test, m_key, m_test), SOURCES[3]
    exact, single, phase = naive.lim_serfling_length(counts, source, leak, 128)
    result = lim2014.evaluate(counts, source, leak, 128)
    assert result.single_photon_key == pytest.approx(float(single), rel=1e-9, abs=1)
    assert result.phase_error_bound == pytest.approx(float(phase), rel=1e-8)
    assert abs(result.observed_length_bits - max(Decimal(0), exact)) <= 2


@given(class_counts, class_counts)
def test_bounds_of_two_decoys_stay_within_the_counts(n: tuple[int, ...], m: tuple[int, ...]) -> None:
    m = tuple(min(pair) for pair in zip(n, m, strict=True))
    found = two_decoys.bounds(n, m, SOURCES[3], 1e-10, hoeffding_interval)
    assert 0 <= found.vacuum_lower <= sum(n)
    assert 0 <= found.single_photon_lower <= sum(n)
    assert 0 <= found.single_photon_errors_upper <= sum(m)


@proofs
def test_what_makes_no_sense_is_refused(proof: Proof) -> None:
    counts, source = counts_of(proof, 1e6, 0.2, 0.01), SOURCES[proof.intensities]
    bad_counts = (
        replace(counts, m_test=tuple(n + 1 for n in counts.n_test)),
        replace(counts, n_key=(*counts.n_key, 1)),
        replace(counts, m_key=tuple(-1 for _ in counts.m_key)),
    )
    for bad in bad_counts:
        with pytest.raises(InputOutOfRange):
            proof.evaluate(bad, source, 0, 128)
    for change in ({"eps_sec": 0.0}, {"eps_cor": 0.5}):
        with pytest.raises(InputOutOfRange):
            proof.evaluate(counts, replace(source, **change), 0, 128)
    with pytest.raises(InputOutOfRange):
        proof.evaluate(counts, source, -1, 128)
    with pytest.raises(InputOutOfRange):
        proof.evaluate(counts, source, 0, -1)


@pytest.mark.parametrize(
    "change",
    [{"mean_photon_numbers": (0.45, 0.5, 1e-3)}, {"mean_photon_numbers": (0.45, 0.3, 0.2)},
     {"mean_photon_numbers": (3.0, 0.3, 0.0)}, {"mean_photon_numbers": (0.45, 0.15)},
     {"intensity_probabilities": (0.5, 0.3, 0.1)}],
)  # fmt: skip
def test_intensities_outside_the_proof_are_refused(change: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(InputOutOfRange):
        lim2014.evaluate(counts_of(lim2014.DESCRIPTION, 1e6, 0.2, 0.01), replace(SOURCES[3], **change), 0, 128)
