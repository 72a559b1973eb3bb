"""Secret rate against distance, parameters optimised at every distance, with the repeaterless bound beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from postproc.errors import InputOutOfRange
from postproc.finite_key import one_decoy_interval
from postproc.finite_key.link_model import LinkModel
from postproc.finite_key.planning import VERIFICATION_BITS, PlanRow, optimise
from postproc.records import LinkParameters

MODES_PER_SLOT = 2  # early and late pulse
LARGEST_STEP_DB = 2.0

COLUMNS = (
    "km", "dB", "mu", "p signal", "pZ Alice", "pZ Bob", "block s", "QBER Z", "QBER X", "l (counts)", "l (interval)",
    "l (plan)", "bit/s", "PLOB bit/s", "ratio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BlockRule:
    """What is held while parameters are searched: key-basis detections per block, reconciliation efficiency f of the
    leakage budget, and the room that a plan leaves (see `planning.plan_link`)."""

    key_detections: int
    efficiency_f: float
    slack_sigmas: float = 4.5
    rate_slack: float = 0.0
    error_slack: float = 0.0


@dataclass(frozen=True, slots=True)
class ReachPoint:
    """One distance. interval_length_bits: of the expected counts if the mean photon numbers are known within the given
    relative uncertainty only; plob_bps: what no protocol without repeaters exceeds on this fibre, per second."""

    distance_km: float
    row: PlanRow
    interval_length_bits: int
    plob_bps: float

    @property
    def block_s(self) -> float:
        """How long light has to arrive for one block."""
        return self.row.params.block_slots / self.row.params.slot_rate_hz


def plob_bits_per_mode(transmittance: float) -> float:
    """Secret bits per optical mode that no repeaterless protocol exceeds on a pure-loss channel: -log2(1 - eta),
    Pirandola, Laurenza, Ottaviani, Banchi, Nat. Commun. 8, 15043 (2017). 0 <= eta < 1."""
    if not 0 <= transmittance < 1:
        raise InputOutOfRange(f"transmittance {transmittance} must lie in [0, 1): the bound has no value without loss")
    return -math.log1p(-transmittance) / math.log(2)


def rate_against_distance(
    model: LinkModel,
    params: LinkParameters,
    distances_km: Iterable[float],
    rule: BlockRule,
    *,
    fibre_db_per_km: float,
    mean_uncertainty: float = 0.0,
) -> list[ReachPoint]:
    """The best plan at every distance, ascending; each search starts where the one before ended.

    model: receiver and detectors; its channel loss is replaced by that of the fibre. Raises InputOutOfRange for
    distances or losses that are not positive.
    """
    distances = sorted(distances_km)
    if not distances or distances[0] <= 0 or fibre_db_per_km <= 0:
        raise InputOutOfRange(f"distances {distances} km and loss {fibre_db_per_km} dB/km must be positive")
    points: list[ReachPoint] = []
    reached_db = min(model.channel_loss_db, distances[0] * fibre_db_per_km)
    for distance in distances:
        loss_db = distance * fibre_db_per_km
        for step_db in _steps(reached_db, loss_db):
            best = _best(replace(model, channel_loss_db=step_db), params, rule)
            if best.secret_rate_bps > 0:
                params, model = best.params, best.model
        points.append(_point(distance, best, mean_uncertainty))
        reached_db = loss_db
    return points


def _steps(from_db: float, to_db: float) -> list[float]:
    """Losses up to `to_db`, close enough that the best parameters of one still give key at the next."""
    count = max(1, math.ceil((to_db - from_db) / LARGEST_STEP_DB))
    return [from_db + (to_db - from_db) * k / count for k in range(1, count)] + [to_db]


def _best(model: LinkModel, params: LinkParameters, rule: BlockRule) -> PlanRow:
    return optimise(
        model,
        params,
        key_detections=rule.key_detections,
        efficiency_f=rule.efficiency_f,
        slack_sigmas=rule.slack_sigmas,
        rate_slack=rule.rate_slack,
        error_slack=rule.error_slack,
    )


def _point(distance_km: float, best: PlanRow, mean_uncertainty: float) -> ReachPoint:
    box = one_decoy_interval.around(best.params, mean_uncertainty)
    length = one_decoy_interval.evaluate(best.counts, box, best.leakage_bits, VERIFICATION_BITS).observed_length_bits
    transmittance = 10 ** (-best.model.channel_loss_db / 10)
    plob = MODES_PER_SLOT * best.params.slot_rate_hz * plob_bits_per_mode(transmittance)
    return ReachPoint(distance_km, best, length, plob)


def table_row(point: ReachPoint) -> tuple[str, ...]:
    """One line of the table as text, in the order of COLUMNS."""
    row = point.row
    return (
        f"{point.distance_km:g}",
        f"{row.model.channel_loss_db:.1f}",
        "{:.3f}/{:.3f}".format(*row.params.mean_photon_numbers),
        f"{row.params.intensity_probabilities[0]:.2f}",
        f"{row.params.key_basis_probability:.2f}",
        f"{row.model.receiver_key_basis_probability:.2f}",
        f"{point.block_s:.3g}",
        f"{row.counts.qber_z:.4f}",
        f"{row.counts.qber_x:.4f}",
        f"{row.observed_length_bits}",
        f"{point.interval_length_bits}",
        f"{row.plan.secret_length_bits}",
        f"{row.secret_rate_bps:.4g}",
        f"{point.plob_bps:.4g}",
        f"{row.secret_rate_bps / point.plob_bps:.2g}",
    )
