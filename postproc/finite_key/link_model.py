"""What a link should count: one-decoy source, lossy channel, passive splitter, one time-resolving key detector, an
interferometer that half of the test-arm light leaves in the central bin, detectors with dead time, a common extending
dead time in software.

Nothing here takes part in the security argument: a wrong expectation costs key or aborts blocks, never secrecy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postproc.errors import InputOutOfRange
from postproc.finite_key import wiesemann2026 as proof
from postproc.records import BlockCounts, LinkParameters
from postproc.timing.dead_time import dead_slots


@dataclass(frozen=True, slots=True)
class LinkModel:
    """What is between the two nodes. Losses in dB, >= 0; ratios in [0, 1].

    receiver_key_basis_probability: share of the light that the splitter sends to the key detector; error_ratio_*: of
    clicks by light (state errors, crosstalk, visibility), dark counts come on top; gate_width_ps of each window.
    """

    channel_loss_db: float
    receiver_loss_db: float = 0.0
    detector_efficiency: float = 0.8
    dark_count_rate_hz: float = 100.0
    detector_dead_time_ps: float = 20_000.0
    receiver_key_basis_probability: float = 0.5
    error_ratio_z: float = 0.01
    error_ratio_x: float = 0.015
    gate_width_ps: float = 300.0
    gate_capture_ratio: float = 0.995

    def __post_init__(self) -> None:
        ratios = (
            self.detector_efficiency,
            self.receiver_key_basis_probability,
            self.error_ratio_z,
            self.error_ratio_x,
            self.gate_capture_ratio,
        )
        if any(not 0 <= ratio <= 1 for ratio in ratios) or min(self.channel_loss_db, self.receiver_loss_db) < 0:
            raise InputOutOfRange(f"link model: ratios {ratios} must lie in [0, 1], losses must be >= 0 dB: {self}")
        if min(self.dark_count_rate_hz, self.detector_dead_time_ps, self.gate_width_ps) < 0:
            raise InputOutOfRange(f"link model: rates and times must be >= 0: {self}")

    @property
    def efficiency(self) -> float:
        """Probability that a photon of Alice would make a click if all detectors were ready and no gate cut it."""
        return 10 ** (-(self.channel_loss_db + self.receiver_loss_db) / 10) * self.detector_efficiency


def live_probability(model: LinkModel, params: LinkParameters) -> float:
    """Probability that a slot is not covered by the common dead time of an earlier click.

    Detectors are renewal processes (dead time t, then exponential at rate r): no click within D >= t before the slot
    has probability exp(-r (D - t)) / (1 + r t) for each of them.
    """
    (z, x) = _mean_clicks(model, params)
    slot_ps = 1e12 / params.slot_rate_hz
    live = 1.0
    for mean in (z, x / 2, x / 2):
        rate = (mean * params.slot_rate_hz + model.dark_count_rate_hz) * 1e-12
        dead = model.detector_dead_time_ps
        window = max(dead_slots(params.common_dead_time_ps, slot_ps) * slot_ps, dead)
        live *= math.exp(-rate * (window - dead)) / (1 + rate * dead)
    return live


def _mean_clicks(model: LinkModel, params: LinkParameters) -> tuple[float, float]:
    """Click probability per slot in the arms of the key basis and of the test basis, gated or not."""
    z = x = 0.0
    for mean, probability in zip(params.mean_photon_numbers, params.intensity_probabilities, strict=True):
        arriving = mean * model.efficiency
        z += probability * -math.expm1(-arriving * model.receiver_key_basis_probability)
        x += probability * -math.expm1(-arriving * (1 - model.receiver_key_basis_probability))
    return z, x


def expected_counts(model: LinkModel, params: LinkParameters, slots: int | None = None) -> BlockCounts:
    """Expected detections and errors of `slots` sent slots (default: a block), rounded to integers."""
    proof.check_parameters(params)
    live_slots = (params.block_slots if slots is None else slots) * live_probability(model, params)
    dark = model.dark_count_rate_hz * 1e-12 * 2 * model.gate_width_ps
    key: list[tuple[float, float]] = []
    test: list[tuple[float, float]] = []
    for mean, probability in zip(params.mean_photon_numbers, params.intensity_probabilities, strict=True):
        arriving = mean * model.efficiency * model.gate_capture_ratio
        z = -math.expm1(-arriving * model.receiver_key_basis_probability)
        x = -math.expm1(-arriving * (1 - model.receiver_key_basis_probability) / 2)
        sent = live_slots * probability
        for counts, basis_probability, own, other, error in (
            (key, params.key_basis_probability, z, x, model.error_ratio_z),
            (test, 1 - params.key_basis_probability, x, z, model.error_ratio_x),
        ):
            assigned = sent * basis_probability * (1 - other / 2)
            counts.append((assigned * (own + dark), assigned * (own * error + dark / 2)))
    return BlockCounts(
        n_key=tuple(round(n) for n, _ in key),
        n_test=tuple(round(n) for n, _ in test),
        m_key=tuple(round(m) for _, m in key),
        m_test=tuple(round(m) for _, m in test),
    )


def slots_for_key_detections(model: LinkModel, params: LinkParameters, detections: int) -> int:
    """Block length in slots, rounded to a million, whose expected detections in the key basis (both sides) are this."""
    per_slot = sum(expected_counts(model, params, 10**9).n_key) / 10**9
    if per_slot <= 0:
        raise InputOutOfRange("this link model expects no detections in the key basis")
    return max(1, round(detections / per_slot / 1e6)) * 10**6
