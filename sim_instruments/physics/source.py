"""The transmitter's optics: laser, intensity modulator, state encoder. Pure functions of parameters and settings.

Powers are averages over the slot. The intensity modulator is a Mach-Zehnder interferometer that also carves the time
bins: its residual transmission at drive zero is what leaks into the bin that should be empty, so that a wrong bias both
shifts the intensities and raises the error ratio of the key basis.
"""

from __future__ import annotations

import math

from sim_instruments.knobs import Knobs
from sim_instruments.model import DAC_FULL_SCALE, SourceModel

LOCKING_MODES = frozenset({1, 2, 3, 4, 8, 9})  # the bias controller's automatic modes


def laser_power_w(source: SourceModel, knobs: Knobs, fade: float) -> float:
    """Average power behind the laser; `fade` in [0, 1] is what ageing or a fault leaves of it."""
    if not knobs.is_laser_on:
        return 0.0
    above_threshold_a = max(0.0, knobs.laser_current_a - source.laser_threshold_a)
    return source.laser_slope_w_per_a * above_threshold_a * fade


def modulator_phase_rad(source: SourceModel, knobs: Knobs, free_phase_rad: float) -> float:
    """Bias phase: 0 at the null, pi at the peak. `free_phase_rad`: where the modulator drifts to when nothing holds
    it."""
    mode = knobs.modulator_mode
    if mode == 7:
        return math.pi * (knobs.modulator_hold_v - source.modulator_null_bias_v) / source.modulator_vpi_v
    held = {1: math.pi, 2: 0.0, 3: math.pi / 2, 4: -math.pi / 2, 5: math.pi / 2, 6: -math.pi / 2}
    held |= {8: math.pi / 2, 9: -math.pi / 2}
    if mode not in held:
        return free_phase_rad
    residual = source.modulator_lock_residual_rad if mode in LOCKING_MODES else 0.3 * free_phase_rad
    return held[mode] + residual


def modulator_transmission(source: SourceModel, dac: int, bias_phase_rad: float) -> float:
    """Transmission in (0, 1] at drive word `dac`; T = e + (1 - e) sin^2((pi dac / V_pi + bias phase) / 2), e from the
    extinction ratio."""
    floor = 10.0 ** (-source.modulator_extinction_db / 10.0)
    half_phase = 0.5 * (math.pi * dac / source.modulator_dac_vpi + bias_phase_rad)
    return floor + (1.0 - floor) * math.sin(half_phase) ** 2


def intensity_transmission(source: SourceModel, dac: int, bias_phase_rad: float) -> tuple[float, float]:
    """(transmission of the whole slot, its part that sits in the wrong time bin): both bins see the modulator, one at
    drive `dac`, one at drive zero."""
    on = modulator_transmission(source, dac, bias_phase_rad)
    off = modulator_transmission(source, 0, bias_phase_rad)
    return on + off, off / (on + off)


def early_late(time_bin_dac: int, wrong_part: float) -> tuple[float, float]:
    """Parts of the slot's energy in the early and the late bin, before the incoherent cross-talk; they sum to 1."""
    angle = 0.5 * math.pi * time_bin_dac / DAC_FULL_SCALE
    wanted_early = math.cos(angle) ** 2
    early = wanted_early * (1.0 - wrong_part) + (1.0 - wanted_early) * wrong_part
    return early, 1.0 - early


def encoder_phase_rad(source: SourceModel, state: int, phase_dac: int) -> float:
    """Phase of the late bin against the early one."""
    return 2.0 * math.pi * phase_dac / (DAC_FULL_SCALE + 1) + source.encoder_phase_error_rad[state]


def mean_photon_number(source: SourceModel, power_w: float) -> float:
    """Photons per slot at average power `power_w`."""
    return power_w / (source.photon_energy_j * source.slot_rate_hz)


def from_db(loss_db: float) -> float:
    """Transmission of a loss; infinite loss transmits nothing."""
    return 10.0 ** (-loss_db / 10.0)
