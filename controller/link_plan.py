"""What this node's configuration expects of the link, and the plan of its blocks that follows from it.

Both are fixed before the first slot of a session. A wrong expectation costs key or aborts blocks; it never makes a
key insecure, because the proof sees only what was counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from controller.config import NodeConfig
from controller.trust.psk import DEFAULT_SIZES
from postproc.finite_key import planning
from postproc.finite_key.link_model import LinkModel
from postproc.records import BlockPlan, LinkParameters

BUDGET_EFFICIENCY_F = 1.17  # of the leakage budget; the codes need about 1.1 (docs/performance.md)
RATE_SLACK = 0.05  # detections may be lower or higher by this ratio
ERROR_SLACK = 0.002  # error ratios may be higher by this


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """`pool_target_bytes`: to which level a block refills the pools (round, resync, notice), bytes per direction."""

    row: planning.PlanRow
    pool_target_bytes: tuple[int, int, int]

    @property
    def block(self) -> BlockPlan:
        """Thresholds and length."""
        return self.row.plan

    @property
    def first_expected_qber_z(self) -> float:
        """Prior of the reconciliation before anything was measured: too weak a code costs more than one step."""
        return self.row.plan.expected_qber_z + ERROR_SLACK


def link_model(config: NodeConfig) -> LinkModel:
    """[expectation] as the planning takes it."""
    e = config.expectation
    return LinkModel(
        channel_loss_db=e.channel_loss_db,
        receiver_loss_db=e.receiver_loss_db,
        detector_efficiency=e.detector_efficiency,
        dark_count_rate_hz=e.dark_count_rate_hz,
        detector_dead_time_ps=e.detector_dead_time_ps,
        receiver_key_basis_probability=e.receiver_key_basis_probability,
        error_ratio_z=e.error_ratio_z,
        error_ratio_x=e.error_ratio_x,
        gate_width_ps=config.calibration.gate_width_ps,
    )


def plan_link(config: NodeConfig, parameters: LinkParameters) -> LinkPlan:
    """The plan of every block of the next session."""
    row = planning.plan_link(
        link_model(config),
        parameters,
        efficiency_f=BUDGET_EFFICIENCY_F,
        rate_slack=RATE_SLACK,
        error_slack=ERROR_SLACK,
    )
    sizes = DEFAULT_SIZES
    return LinkPlan(row, (sizes.round_bytes, sizes.resync_bytes, sizes.notice_bytes))


def expected_click_rate_hz(
    config: NodeConfig, parameters: LinkParameters, mean_photon_number: float | None = None
) -> float:
    """Clicks per second of all detectors together; for one mean photon number in every slot, or for the configured
    mixture.

    Each detector counts at r / (1 + r t) with its dead time t and the rate r at which it would click without one.
    """
    model = link_model(config)
    if mean_photon_number is None:
        pairs = zip(parameters.mean_photon_numbers, parameters.intensity_probabilities, strict=True)
        mean_photon_number = sum(mean * probability for mean, probability in pairs)
    arriving = mean_photon_number * model.efficiency
    z = model.receiver_key_basis_probability
    total = 0.0
    for share in (z, (1 - z) / 2, (1 - z) / 2):
        rate = -math.expm1(-arriving * share) * parameters.slot_rate_hz + model.dark_count_rate_hz
        total += rate / (1 + rate * model.detector_dead_time_ps * 1e-12)
    return total
