"""Accept or abort, by what was fixed before the block (fixed-length mode, protocol §3.8). Both nodes compute this
from the same integers. That the planned length follows from the planned thresholds is checked here too: a plan that
claims more is refused by both, whoever made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from postproc.finite_key import wiesemann2026
from postproc.finite_key.proofs import key_proof
from postproc.records import BlockCounts, BlockPlan, FiniteKeyResult, LinkParameters
from postproc.session.leakage import LeakageLedger

Length = Callable[[float, float, int, int, LinkParameters], int]
LENGTHS: dict[str, Length] = {wiesemann2026.PROOF: wiesemann2026.secret_length_bits}


def planned_length_bits(parameters: LinkParameters, plan: BlockPlan, verification_bits: int) -> int:
    """The most secret bits that any block within the plan's thresholds and budget is good for."""
    length = LENGTHS[parameters.proof]
    return length(
        plan.min_single_photon_key, plan.max_phase_error, plan.leakage_budget_bits, verification_bits, parameters
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is empty when the block is accepted."""

    reason: str
    result: FiniteKeyResult

    @property
    def is_accepted(self) -> bool:
        """Whether the planned length may be distilled from the block."""
        return not self.reason


def judge(counts: BlockCounts, parameters: LinkParameters, plan: BlockPlan, ledger: LeakageLedger) -> Verdict:
    """Compare what was observed with the thresholds, the limits and the leakage budget of the plan."""
    leakage_bits = ledger.without_verification_bits
    result = key_proof(parameters.proof).evaluate(counts, parameters, leakage_bits, ledger.verification_bits)
    most = planned_length_bits(parameters, plan, ledger.verification_bits)
    complaints = (
        (counts.qber_x > parameters.qber_x_limit, f"QBER X {counts.qber_x:.4f} > {parameters.qber_x_limit:.4f}"),
        (counts.qber_z > parameters.qber_z_limit, f"QBER Z {counts.qber_z:.4f} > {parameters.qber_z_limit:.4f}"),
        (
            result.single_photon_key < plan.min_single_photon_key,
            f"single-photon detections in the key basis {result.single_photon_key} < {plan.min_single_photon_key}",
        ),
        (
            result.phase_error_bound > plan.max_phase_error,
            f"phase error bound {result.phase_error_bound:.4f} > {plan.max_phase_error:.4f}",
        ),
        (leakage_bits > plan.leakage_budget_bits, f"leakage {leakage_bits} bits > budget {plan.leakage_budget_bits}"),
        (plan.secret_length_bits <= 0, "the plan allows no secret key"),
        (plan.secret_length_bits > most, f"plan of {plan.secret_length_bits} bits, its thresholds allow {most}"),
        (sum(counts.n_key) < plan.secret_length_bits, "fewer sifted bits than planned secret bits"),
    )
    return Verdict(next((text for failed, text in complaints if failed), ""), result)
