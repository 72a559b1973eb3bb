"""The numbers that are fixed before a block (protocol §3.8): secret length, leakage budget, acceptance thresholds.

`plan_block` turns expected counts into thresholds that an undisturbed block passes, `plan_link` does so for a model of
the link, `optimise` searches the parameters. docs/decisions/0003 says why these thresholds are an acceptance test.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

from postproc.errors import InputOutOfRange
from postproc.finite_key import wiesemann2026 as proof
from postproc.finite_key.link_model import LinkModel as LinkModel
from postproc.finite_key.link_model import expected_counts as expected_counts
from postproc.finite_key.link_model import slots_for_key_detections as slots_for_key_detections
from postproc.finite_key.proofs import key_proof
from postproc.records import BlockCounts, BlockPlan, LinkParameters

VERIFICATION_BITS = 128


def expected_leakage_bits(counts: BlockCounts, efficiency_f: float, *, frames: int = 0) -> int:
    """Bits that reconciliation will disclose: f n h(Q), one bit per frame, the error counts; without verification."""
    n = sum(counts.n_key)
    reported = sum(k.bit_length() for k in counts.n_key)
    return math.ceil(efficiency_f * n * proof.binary_entropy(counts.qber_z)) + frames + reported


def plan_block(
    expected: BlockCounts,
    params: LinkParameters,
    expected_leakage: int,
    slack_sigmas: float = 4.5,
    *,
    rate_slack: float = 0.0,
    error_slack: float = 0.0,
    verification_bits: int = VERIFICATION_BITS,
) -> BlockPlan:
    """Fix length and thresholds for the next block.

    expected: counts of an undisturbed block. The thresholds lie slack_sigmas standard deviations of counting noise
    beyond what a block would give whose rates are lower by rate_slack (ratio) and whose error ratios are higher by
    error_slack (absolute): 4.5 sigmas let an undisturbed block pass with more than 99.99 %. expected_leakage becomes
    the budget as it is; leave room in it for more detections and for frames that fail. secret_length_bits is 0 when the
    link cannot make key under these numbers.

    Raises InputOutOfRange for arguments outside their limits and for a proof that a node must not use.
    """
    key_proof(params.proof)
    if slack_sigmas < 0 or not 0 <= rate_slack < 1 or not 0 <= error_slack < 0.5 or expected_leakage < 0:
        raise InputOutOfRange(
            f"slack {slack_sigmas} sigmas (>= 0), rate slack {rate_slack} ([0, 1)), error slack {error_slack} "
            f"([0, 0.5)), expected leakage {expected_leakage} bits (>= 0)"
        )
    worse = _worsened(expected, rate_slack, error_slack)
    single, phase = _bounds(worse, params)
    single_sigma, phase_sigma = _bound_sigmas(worse, params)
    min_single = max(0, math.floor(single - slack_sigmas * single_sigma))
    max_phase = min(0.5, phase + slack_sigmas * phase_sigma)
    return BlockPlan(
        secret_length_bits=proof.secret_length_bits(min_single, max_phase, expected_leakage, verification_bits, params),
        leakage_budget_bits=expected_leakage,
        min_single_photon_key=min_single,
        max_phase_error=max_phase,
        expected_qber_z=expected.qber_z,
    )


def _worsened(counts: BlockCounts, rate_slack: float, error_slack: float) -> BlockCounts:
    def fewer(n: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(math.floor(k * (1 - rate_slack)) for k in n)

    def more(m: tuple[int, ...], n: tuple[int, ...]) -> tuple[int, ...]:
        kept = (math.ceil(e * (1 - rate_slack) + error_slack * d) for e, d in zip(m, fewer(n), strict=True))
        return tuple(min(e, d) for e, d in zip(kept, fewer(n), strict=True))

    return BlockCounts(
        fewer(counts.n_key), fewer(counts.n_test), more(counts.m_key, counts.n_key), more(counts.m_test, counts.n_test)
    )


def _bounds(counts: BlockCounts, params: LinkParameters) -> tuple[float, float]:
    """(lower bound on single-photon key detections, phase error bound)."""
    key = proof.decoy_bounds(counts.n_key, counts.m_key, params)
    test = proof.decoy_bounds(counts.n_test, counts.m_test, params)
    return key.single_photon_lower, proof.phase_error_bound(key.single_photon_lower, test, params.eps_sec)


def _bound_sigmas(counts: BlockCounts, params: LinkParameters) -> tuple[float, float]:
    """Standard deviations of the two bounds under Poisson noise of every count, to first order."""
    single, phase = _bounds(counts, params)
    single_variance = phase_variance = 0.0
    for name in ("n_key", "n_test", "m_key", "m_test"):
        values: tuple[int, ...] = getattr(counts, name)
        for k, value in enumerate(values):
            moved = list(values)
            moved[k] = value + math.isqrt(value) + 1
            shifted = _bounds(_replaced(counts, name, tuple(moved)), params)
            single_variance += (shifted[0] - single) ** 2
            phase_variance += (shifted[1] - phase) ** 2
    return math.sqrt(single_variance), math.sqrt(phase_variance)


def _replaced(counts: BlockCounts, name: str, values: tuple[int, ...]) -> BlockCounts:
    return replace(counts, **{name: values})


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One line of the planning table: parameters, expectation of a block, plan."""

    params: LinkParameters
    model: LinkModel
    counts: BlockCounts
    leakage_bits: int
    observed_length_bits: int  # of a block with exactly the expected counts
    plan: BlockPlan

    @property
    def secret_rate_bps(self) -> float:
        """Planned secret bits per second of light."""
        return self.plan.secret_length_bits * self.params.slot_rate_hz / self.params.block_slots


def plan_link(
    model: LinkModel,
    params: LinkParameters,
    *,
    efficiency_f: float,
    slack_sigmas: float = 4.5,
    rate_slack: float = 0.0,
    error_slack: float = 0.0,
) -> PlanRow:
    """Expectation and plan of a block of params.block_slots on this link.

    The leakage budget is that of a block with more detections by rate_slack and error ratios higher by error_slack.
    """
    counts = expected_counts(model, params)
    leakage = expected_leakage_bits(counts, efficiency_f)
    dearer = _worsened(counts, 0.0, error_slack)
    budget = math.ceil(expected_leakage_bits(dearer, efficiency_f) * (1 + rate_slack))
    observed = proof.evaluate(counts, params, leakage, VERIFICATION_BITS).observed_length_bits
    plan = plan_block(counts, params, budget, slack_sigmas, rate_slack=rate_slack, error_slack=error_slack)
    return PlanRow(params, model, counts, leakage, observed, plan)


def optimise(
    model: LinkModel,
    params: LinkParameters,
    *,
    key_detections: int,
    efficiency_f: float,
    slack_sigmas: float = 4.5,
    rate_slack: float = 0.0,
    error_slack: float = 0.0,
) -> PlanRow:
    """The parameters with the most planned secret bits per second at this block size, by coordinate search.

    Searched: both mean photon numbers, the probability of the signal class, Alice's and the receiver's key-basis
    probability. Deterministic; steps are halved until they are below a percent.
    """

    def row_at(point: tuple[float, ...]) -> PlanRow | None:
        mu_1, mu_2, p_1, alice, bob = point
        if not (0.02 <= mu_2 <= 0.9 * mu_1 and mu_1 <= 1.0 and all(0.05 <= p <= 0.97 for p in (p_1, alice, bob))):
            return None
        moved = replace(
            params,
            mean_photon_numbers=(mu_1, mu_2),
            intensity_probabilities=(p_1, 1 - p_1),
            key_basis_probability=alice,
        )
        there = replace(model, receiver_key_basis_probability=bob)
        moved = replace(moved, block_slots=slots_for_key_detections(there, moved, key_detections))
        return plan_link(
            there, moved, efficiency_f=efficiency_f, slack_sigmas=slack_sigmas,
            rate_slack=rate_slack, error_slack=error_slack,
        )  # fmt: skip

    point: tuple[float, ...] = (
        *params.mean_photon_numbers, params.intensity_probabilities[0], params.key_basis_probability,
        model.receiver_key_basis_probability,
    )  # fmt: skip
    best = row_at(point)
    if best is None:
        raise InputOutOfRange(f"start {point} is outside the searched range")
    step = 0.2
    while step > 0.01:
        better = best
        for axis, sign in itertools.product(range(len(point)), (1 + step, 1 / (1 + step))):
            trial = tuple(min(0.97, x * sign) if k == axis else x for k, x in enumerate(point))
            row = row_at(trial)
            if row is not None and row.secret_rate_bps > better.secret_rate_bps:
                better, next_point = row, trial
        if better is best:
            step /= 2
        else:
            best, point = better, next_point
    return best
