"""What a perfect receiver must find on average: the error ratios and rates that the physics implies, by enumeration.

For each (state, intensity) the outcome of a slot is worked out per detector (several photons, the detector's own
blocking within the slot, gates and jitter, dark counts, afterpulses), detectors are combined, double clicks get a
random bit and clicks in both bases a random basis with that basis's own bit. Dead time of earlier slots, whole slots
of it, thins all alike. Only tests, and the person who runs the bench, see this; no instrument answers with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim_instruments.attacks.intercept_resend import transition
from sim_instruments.model import CHANNELS, INTENSITIES, STATES, BenchModel
from sim_instruments.optics import Optics
from sim_instruments.physics.detectors import FWHM_PER_SIGMA
from sim_instruments.physics.receiver import OUTCOME_CHANNEL, OUTCOME_DELAY_BINS, OUTCOMES, Outcome

Gate = tuple[int, float, float, int, int]  # channel, start_ps, width_ps, basis (0 Z, 1 X), bit
_LAST = (Outcome.X_PLUS_LAST, Outcome.X_MINUS_LAST)


@dataclass(frozen=True, slots=True)
class Yields:
    """Per (state, intensity) sent: probability, in a slot with all detectors live, of ending as (basis, bit); float64
    [STATES, INTENSITIES, 2, 2]. live: probability that all detectors are live. clicks_hz: float64 [CHANNELS]."""

    outcome: NDArray[np.float64]
    live: float
    clicks_hz: NDArray[np.float64]


def jitter_sigma_ps(bench: BenchModel) -> NDArray[np.float64]:
    """Standard deviation of the click time per channel, pulse width included; float64 [CHANNELS]."""
    fwhm = np.hypot(np.array(bench.detectors.jitter_fwhm_ps), bench.source.pulse_fwhm_ps)
    return np.asarray(fwhm / FWHM_PER_SIGMA)


def event_rates_hz(
    bench: BenchModel, optics: Optics, probabilities: NDArray[np.float64], fraction: float
) -> NDArray[np.float64]:
    """Expected events per second per channel, dead time aside, while symbols are sent with `probabilities`; float64
    [CHANNELS]."""
    travelling = transition(fraction).T @ probabilities
    per_outcome = np.einsum("sk,sko->o", travelling, optics.events) * bench.source.slot_rate_hz
    events_hz = np.bincount(OUTCOME_CHANNEL - 1, weights=per_outcome, minlength=CHANNELS) + optics.dark_hz
    return np.asarray(events_hz * (1.0 + bench.detectors.afterpulse_probability))


def click_rates_hz(
    bench: BenchModel, optics: Optics, probabilities: NDArray[np.float64], fraction: float
) -> NDArray[np.float64]:
    """Expected clicks per second per channel; float64 [CHANNELS]. Non-extending dead time."""
    events_hz = event_rates_hz(bench, optics, probabilities, fraction)
    return np.asarray(events_hz / (1.0 + events_hz * np.array(bench.detectors.dead_time_ps) * 1e-12))


def _live_ratio(bench: BenchModel, events_hz: NDArray[np.float64], common_dead_time_ps: float) -> float:
    """Probability that no detector clicked within the common dead time before a slot.

    The time since a detector's last click exceeds T with probability exp(-r (T - t)) / (1 + r t) for T >= its dead
    time t: the age of a renewal process of intervals t + Exp(r). Detectors count as independent.
    """
    dead_s = np.array(bench.detectors.dead_time_ps) * 1e-12
    beyond_s = np.maximum(0.0, common_dead_time_ps * 1e-12 - dead_s)
    return float(np.prod(np.exp(-events_hz * beyond_s) / (1.0 + events_hz * dead_s)))


def yields(
    bench: BenchModel,
    optics: Optics,
    probabilities: NDArray[np.float64],
    fraction: float,
    gates: Sequence[Gate],
    common_dead_time_ps: float,
) -> Yields:
    """Enumerate. `probabilities`: float64 [STATES, INTENSITIES] of what is sent; `fraction`: of intercepted slots. A
    receiver counts the common dead time in whole slots, rounded up."""
    common_dead_time_ps = math.ceil(common_dead_time_ps / bench.source.slot_ps - 1e-3) * bench.source.slot_ps
    rates = click_rates_hz(bench, optics, probabilities, fraction)
    stray_hz = optics.dark_hz + _late_afterpulses_hz(bench, rates, common_dead_time_ps)
    before = _light_of_the_slot_before(optics, transition(fraction).T @ probabilities)
    hits = _gate_hits(bench, gates)
    travelling = np.empty((STATES, INTENSITIES, 2, 2))
    for state, intensity in itertools.product(range(STATES), range(INTENSITIES)):
        per_detector = [
            _detector_outcomes(bench, c, optics.events[state, intensity], before, stray_hz, gates, hits)
            for c in range(1, CHANNELS + 1)
        ]
        travelling[state, intensity] = _combine(per_detector, gates)
    outcome = np.einsum("st,tkbv->skbv", transition(fraction), travelling)
    live = _live_ratio(bench, event_rates_hz(bench, optics, probabilities, fraction), common_dead_time_ps)
    return Yields(outcome, live, rates)


def centred_gates(bench: BenchModel, gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """`gates` moved to sit centred on their pulses: bit 0 of Z early, all others late.

    A receiver counts phases from a slot start of its own, which the twin cannot know; what its gates are worth
    depends on their widths, and on being centred. One that is not shows as a difference from this truth. ValueError
    for no gate.
    """
    centred = []
    for channel, _, width_ps, basis, bit in gates:
        if not (1 <= channel <= CHANNELS and width_ps > 0 and basis in (0, 1) and bit in (0, 1)):
            raise ValueError(
                f"gate of channel {channel}, width {width_ps} ps, basis {basis}, bit {bit}: "
                f"channels are 1..{CHANNELS}, a width is positive, basis and bit are 0 or 1"
            )
        centre_ps = 0.0 if (basis, bit) == (0, 0) else bench.source.pulse_separation_ps
        centred.append((channel, centre_ps - 0.5 * width_ps, width_ps, basis, bit))
    return tuple(centred)


def _late_afterpulses_hz(
    bench: BenchModel, rates: NDArray[np.float64], common_dead_time_ps: float
) -> NDArray[np.float64]:
    """Afterpulses that outlast the common dead time, spread evenly over the slot."""
    d = bench.detectors
    late = [math.exp(-max(0.0, common_dead_time_ps - dead_ps) / d.afterpulse_time_ps) for dead_ps in d.dead_time_ps]
    return np.asarray(rates * d.afterpulse_probability * np.array(late))


def _light_of_the_slot_before(optics: Optics, travelling: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean photo-events per channel that the previous slot, given it made no other click, leaves at this one's
    start."""
    others = optics.events.sum(axis=2) - optics.events[:, :, _LAST].sum(axis=2)
    weight = travelling * np.exp(-others)
    mean = np.zeros(CHANNELS)
    for outcome in _LAST:
        kept = float((weight * np.exp(-optics.events[:, :, outcome])).sum() / weight.sum())
        mean[OUTCOME_CHANNEL[outcome] - 1] = -math.log(kept)
    return mean


def _gate_hits(bench: BenchModel, gates: Sequence[Gate]) -> NDArray[np.float64]:
    """Probability that a photo-event of an outcome falls into a gate of its channel; float64 [OUTCOMES, gates]."""
    sigma = jitter_sigma_ps(bench)
    hits = np.zeros((OUTCOMES, len(gates)))
    for outcome, (g, gate) in itertools.product(range(OUTCOMES), enumerate(gates)):
        channel, start_ps, width_ps = gate[:3]
        if OUTCOME_CHANNEL[outcome] == channel:
            centre_ps = float(OUTCOME_DELAY_BINS[outcome]) * bench.source.pulse_separation_ps
            hits[outcome, g] = _wrapped_normal(
                start_ps - centre_ps, width_ps, float(sigma[channel - 1]), bench.source.slot_ps
            )
    return hits


def _wrapped_normal(start: float, width: float, sigma: float, period: float) -> float:
    """Probability of [start, start + width) modulo the period under a normal distribution around 0."""
    return sum(
        _normal_below(start + n * period + width, sigma) - _normal_below(start + n * period, sigma)
        for n in range(-3 - int(abs(start) / period), 4 + int(abs(start) / period))
    )


def _normal_below(x: float, sigma: float) -> float:
    return 0.5 * (1.0 + math.erf(x / (sigma * math.sqrt(2.0))))


def _detector_outcomes(
    bench: BenchModel,
    channel: int,
    events: NDArray[np.float64],
    before: NDArray[np.float64],
    stray_hz: NDArray[np.float64],
    gates: Sequence[Gate],
    hits: NDArray[np.float64],
) -> dict[int, float]:
    """Probability per gate index (-1: a click outside all gates, or none) of the one click this detector can make in
    a slot.

    The detector takes what comes first; what comes later in the slot finds it dead. Stray counts come evenly.
    """
    outcome = dict.fromkeys([g for g, gate in enumerate(gates) if gate[0] == channel], 0.0)
    untouched = math.exp(-before[channel - 1])
    slot_s = bench.source.slot_ps * 1e-12
    for position in (0, 1):
        at = [o for o in range(OUTCOMES) if OUTCOME_CHANNEL[o] == channel and OUTCOME_DELAY_BINS[o] == position]
        mean = float(events[at].sum())
        clicked = untouched * -math.expm1(-mean)
        for g in outcome:
            share = sum(float(events[o]) * hits[o, g] for o in at) / mean if mean > 0.0 else 0.0
            outcome[g] += clicked * share
        untouched *= math.exp(-mean)
    for g in outcome:
        outcome[g] += untouched * stray_hz[channel - 1] * slot_s * gates[g][2] / bench.source.slot_ps
    outcome[-1] = 1.0 - sum(outcome.values())
    return outcome


def _combine(per_detector: Sequence[dict[int, float]], gates: Sequence[Gate]) -> NDArray[np.float64]:
    """Probability of the slot's (basis, bit), float64 [2, 2], from independent detectors."""
    result = np.zeros((2, 2))
    for combination in itertools.product(*(d.items() for d in per_detector)):
        probability = math.prod(p for _, p in combination)
        clicked = [(gates[g][3], gates[g][4]) for g, _ in combination if g >= 0]
        bases = {basis for basis, _ in clicked}
        for basis in bases:
            bits = {bit for b, bit in clicked if b == basis}
            for bit in bits:
                result[basis, bit] += probability / (len(bases) * len(bits))
    return result


def summary(
    bench: BenchModel, optics: Optics, probabilities: NDArray[np.float64], found: Yields
) -> dict[str, float | list[float]]:
    """The truth as plain numbers; see `World.expectation` for the keys."""
    joint = probabilities[:, :, None, None] * found.outcome
    sifted_z, sifted_x = float(joint[:2, :, 0].sum()), float(joint[2:, :, 1].sum())
    wrong_z = float(joint[0, :, 0, 1].sum() + joint[1, :, 0, 0].sum())
    wrong_x = float(joint[2, :, 1, 1].sum() + joint[3, :, 1, 0].sum())
    per_intensity = probabilities.sum(axis=0)
    photons = (probabilities * optics.photons).sum(axis=0) / np.where(per_intensity > 0, per_intensity, 1.0)
    rate_hz = bench.source.slot_rate_hz * found.live
    return {
        "qber_z": wrong_z / sifted_z if sifted_z > 0 else 0.5,
        "qber_x": wrong_x / sifted_x if sifted_x > 0 else 0.5,
        "sifted_z_hz": sifted_z * rate_hz,
        "sifted_x_hz": sifted_x * rate_hz,
        "errors_z_hz": wrong_z * rate_hz,
        "errors_x_hz": wrong_x * rate_hz,
        "detections_hz": float(joint.sum()) * rate_hz,
        "live_ratio": found.live,
        "mean_photon_numbers": photons.tolist(),
        "detection_probability_per_intensity": (
            joint.sum(axis=(0, 2, 3)) / np.where(per_intensity > 0, per_intensity, 1.0)
        ).tolist(),
        "click_rates_hz": found.clicks_hz.tolist(),
    }


@dataclass(slots=True)
class RunningTruth:
    """Average of the truth over what was sent, weighted by sifted detections (the errors and detections are summed)."""

    gates: tuple[Gate, ...] = ()
    common_dead_time_ps: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, now: dict[str, float | list[float]], duration_s: float) -> None:
        """Account for `duration_s` under conditions whose summary is `now`."""
        for key in ("sifted_z", "sifted_x", "errors_z", "errors_x", "detections"):
            rate_hz = now[f"{key}_hz"]
            assert isinstance(rate_hz, float)
            self.sums[key] = self.sums.get(key, 0.0) + rate_hz * duration_s
        self.sums["duration_s"] = self.sums.get("duration_s", 0.0) + duration_s

    def result(self) -> dict[str, float]:
        """qber_z, qber_x (0.5 when nothing was expected) and the expected numbers they rest on."""
        s = self.sums
        return {
            "qber_z": s["errors_z"] / s["sifted_z"] if s.get("sifted_z") else 0.5,
            "qber_x": s["errors_x"] / s["sifted_x"] if s.get("sifted_x") else 0.5,
            **s,
        }
