"""From settings to mean photo-events: the whole optical path, evaluated once per drift step or change of a setting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_instruments.environment import Environment, Faults
from sim_instruments.knobs import Knobs
from sim_instruments.model import CHANNELS, INTENSITIES, STATES, BenchModel
from sim_instruments.physics import channel as fibre
from sim_instruments.physics import detectors as spd
from sim_instruments.physics import source as tx
from sim_instruments.physics.receiver import OUTCOME_CHANNEL, OUTCOMES, light_parts


@dataclass(frozen=True, slots=True)
class Optics:
    """tap_w: average true power at the power meter if every slot carried (state, intensity), float64 [STATES,
    INTENSITIES]. photons: mean photon number at the transmitter's exit, same shape. events: mean photo-events per
    slot, float64 [STATES, INTENSITIES, OUTCOMES], before dead time. dark_hz: float64 [CHANNELS]."""

    tap_w: NDArray[np.float64]
    photons: NDArray[np.float64]
    events: NDArray[np.float64]
    dark_hz: NDArray[np.float64]


def optics(bench: BenchModel, knobs: Knobs, environment: Environment, faults: Faults) -> Optics:
    """The optical path with these settings, under these conditions."""
    source, attenuation = bench.source, bench.attenuation
    power_w = tx.laser_power_w(source, knobs, faults.laser_fade)
    path_db = source.modulator_insertion_loss_db + source.encoder_insertion_loss_db
    path_db += knobs.attenuation_db + attenuation.variable_error_db
    transmission = _transmissions(bench, knobs, faults)
    before_tap_w = power_w * tx.from_db(path_db) * transmission
    exit_w = before_tap_w * (1.0 - attenuation.tap_ratio) * tx.from_db(attenuation.fixed_db)
    photons = exit_w / (source.photon_energy_j * source.slot_rate_hz)
    loss_db = math.inf if faults.fibre_cut else bench.channel.loss_db + environment.loss_fluctuation_db
    arriving = photons * tx.from_db(loss_db + faults.extra_loss_db)
    events = arriving[:, :, None] * _parts(bench, knobs, environment, faults)
    return Optics(before_tap_w * attenuation.tap_ratio, photons, events, _dark_hz(bench, knobs, faults))


def _bias_phase_rad(bench: BenchModel, knobs: Knobs, faults: Faults) -> float:
    free = bench.source.modulator_free_phase_rad
    return free if faults.modulator_unlocked else tx.modulator_phase_rad(bench.source, knobs, free)


def _transmissions(bench: BenchModel, knobs: Knobs, faults: Faults) -> NDArray[np.float64]:
    phase = _bias_phase_rad(bench, knobs, faults)
    per_intensity = [tx.intensity_transmission(bench.source, dac, phase)[0] for dac in knobs.intensity_dac]
    return np.outer(bench.source.state_relative_intensity, per_intensity)


def _parts(bench: BenchModel, knobs: Knobs, environment: Environment, faults: Faults) -> NDArray[np.float64]:
    """Mean photo-events per arriving photon, float64 [STATES, INTENSITIES, OUTCOMES]."""
    source, receiver = bench.source, bench.receiver
    stokes = fibre.rotation(1, faults.polarization_jump) @ environment.stokes
    aligned = fibre.alignment(bench.channel, stokes, knobs.polarization_v)
    visibility = receiver.interferometer_visibility * fibre.polarization_visibility(receiver, aligned)
    phase = environment.interferometer_phase_rad + faults.phase_jump
    phase += math.pi * knobs.phase_bias_v / receiver.phase_actuator_vpi_v
    bias_phase = _bias_phase_rad(bench, knobs, faults)
    parts = np.empty((STATES, INTENSITIES, OUTCOMES))
    for state, (time_bin_dac, phase_dac) in enumerate(knobs.state_levels):
        total_phase = phase + tx.encoder_phase_rad(source, state, phase_dac)
        for intensity, dac in enumerate(knobs.intensity_dac):
            wrong = tx.intensity_transmission(source, dac, bias_phase)[1]
            early, late = tx.early_late(time_bin_dac, wrong)
            parts[state, intensity] = light_parts(
                receiver, early, late, source.encoder_crosstalk_ratio, total_phase, visibility
            )
    efficiency = _efficiencies(bench, knobs, faults) * fibre.polarization_efficiency(receiver, aligned)
    result: NDArray[np.float64] = parts * efficiency[OUTCOME_CHANNEL - 1]
    return result


def _efficiencies(bench: BenchModel, knobs: Knobs, faults: Faults) -> NDArray[np.float64]:
    return np.array(
        [
            spd.efficiency(bench.detectors, c, knobs.detector_bias_a[c - 1], knobs.trigger_level_v[c - 1])
            * (knobs.is_detector_enabled and c != faults.detector_dead)
            for c in range(1, CHANNELS + 1)
        ]
    )


def _dark_hz(bench: BenchModel, knobs: Knobs, faults: Faults) -> NDArray[np.float64]:
    return np.array(
        [
            spd.dark_rate_hz(bench.detectors, c, knobs.detector_bias_a[c - 1], knobs.trigger_level_v[c - 1])
            * (knobs.is_detector_enabled and c != faults.detector_dead)
            * faults.dark_count_factor
            for c in range(1, CHANNELS + 1)
        ]
    )
