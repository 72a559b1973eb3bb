"""Mean photon number per intensity class, from the power meter at the monitor tap (physics.md §5, routines 6 and 8).

A train of identical slots of one class is sent; the meter reads the average power P at the tap. Behind the tap, a
fixed attenuation A leads to the fibre, so a slot carries on average

    mu = P / tap_ratio * 10^(-A/10) / (h nu f)            with h nu = h c / lambda and f the slot rate.

The attenuator is moved until the signal class has its target, the modulator's level until the decoy class has its
own. Both are measured again afterwards, with the readings that the calibration reports. Uncertainty: readings, fixed
attenuation and tap ratio, added in quadrature.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from controller.calibration.result import CalibrationFailed, CalibrationResult, Check
from controller.config import CalibrationSection, LinkSection, SourceBench
from drivers.roles import PowerMeter, SymbolTransmitter, VariableAttenuator

ROUTINE = "mean-photon-number"
PLANCK_J_S = 6.62607015e-34  # CODATA 2018, exact
LIGHT_M_PER_S = 299_792_458.0
READINGS = 8
SETTLE_S = 0.02
MAX_STEPS = 12
PATTERN_SLOTS = 64
MIN_POWER_W = 1e-15  # below every meter's noise: stands for no light
DAC_MAX = 65535
CLASSES = ("signal", "decoy")


@dataclass(frozen=True, slots=True)
class Source:
    """The instruments of the routine."""

    transmitter: SymbolTransmitter
    attenuator: VariableAttenuator
    meter: PowerMeter


@dataclass(frozen=True, slots=True)
class MeanPhoton:
    """A measured mean photon number with its relative standard uncertainty."""

    value: float
    relative_sigma: float


def photons_per_slot(tap_power_w: float, bench: SourceBench, slot_rate_hz: float) -> float:
    """Mean photon number per slot behind the fixed attenuation, from the power at the meter (formula above)."""
    photon_energy_j = PLANCK_J_S * LIGHT_M_PER_S / (bench.wavelength_nm * 1e-9)
    transmitted = 10 ** (-bench.fixed_attenuation_db / 10)
    return tap_power_w / bench.tap_ratio * transmitted / (photon_energy_j * slot_rate_hz)


class MeanPhotonNumber:
    """The routine. `run` leaves the transmitter without a pattern and the settings in force."""

    def __init__(
        self,
        source: Source,
        bench: SourceBench,
        link: LinkSection,
        limits: CalibrationSection,
        serials: dict[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._bench, self._link, self._limits, self._serials = source, bench, link, limits, serials
        self._sleep = sleep
        self._levels = list(bench.intensity_dac)

    def run(self) -> CalibrationResult:
        """Find, then measure independently. Raises InstrumentError of a driver, or CalibrationFailed when a target is
        out of reach.
        """
        transmitter = self._source.transmitter
        self._source.meter.set_wavelength_nm(self._bench.wavelength_nm)
        for index, level in enumerate(self._levels):
            transmitter.set_intensity(index, level, math.nan, 0.0)
        try:
            self._find_attenuation()
            self._find_decoy_level()
            measured = [self._measure(index) for index in range(len(CLASSES))]
        finally:
            transmitter.set_pattern_off()
        for index, found in enumerate(measured):
            transmitter.set_intensity(index, self._levels[index], found.value, found.value * found.relative_sigma)
        return self._result(measured)

    def apply(self, result: CalibrationResult) -> None:
        """Put an earlier result into force again (after a restart of the node or the transmitter)."""
        self._source.attenuator.set_attenuation_db(result.values["attenuation_db"])
        for index, name in enumerate(CLASSES):
            value = result.values[f"mean_photon_number_{name}"]
            sigma = value * result.values[f"relative_sigma_{name}"]
            self._source.transmitter.set_intensity(index, int(result.values[f"dac_{name}"]), value, sigma)

    def power_ratio(self, result: CalibrationResult) -> float:
        """Mean photon number of the signal class now, relative to that result, whose settings are in force."""
        try:
            return self._measure(0).value / result.values["mean_photon_number_signal"]
        finally:
            self._source.transmitter.set_pattern_off()

    # ---- find

    def _find_attenuation(self) -> None:
        target = self._link.mean_photon_numbers[0]
        low, high = self._source.attenuator.attenuation_limits_db
        attenuation_db = min(max(self._source.attenuator.attenuation_db(), low), high)
        for _ in range(MAX_STEPS):
            self._source.attenuator.set_attenuation_db(attenuation_db)
            error_db = 10 * math.log10(self._measure(0).value / target)
            if abs(error_db) < 0.02:
                return
            wanted_db = attenuation_db + error_db
            if not low <= wanted_db <= high:
                raise CalibrationFailed(
                    f"mean photon number {target:g} needs an attenuation of {wanted_db:.2f} dB, "
                    f"limits [{low:g}, {high:g}] dB",
                    remedy="change the laser current or [bench.source] fixed_attenuation_db of the bench",
                )
            attenuation_db = round(wanted_db, 3)
        raise CalibrationFailed(
            f"attenuation does not settle: mean photon number off by {error_db:+.2f} dB after {MAX_STEPS} steps",
            remedy="look at the laser's power and the attenuator's read-back",
        )

    def _find_decoy_level(self) -> None:
        """Bisection on the modulator's level: the power grows with the level, by no particular law."""
        target = self._link.mean_photon_numbers[1]
        low, high = 0, self._levels[0]
        for _ in range(17):
            level = (low + high) // 2
            self._source.transmitter.set_intensity(1, level, math.nan, 0.0)
            self._levels[1] = level
            value = self._measure(1).value
            if abs(value / target - 1) < 0.005 or high - low <= 1:
                return
            low, high = (level, high) if value < target else (low, level)

    # ---- measure

    def _measure(self, index: int) -> MeanPhoton:
        self._source.transmitter.set_pattern(np.full(PATTERN_SLOTS, index << 4, np.uint8))
        self._sleep(SETTLE_S)
        readings = [self._source.meter.power_w() for _ in range(READINGS)]
        power_w = max(statistics.fmean(readings), MIN_POWER_W)
        reading_sigma = statistics.stdev(readings) / math.sqrt(READINGS) / power_w
        attenuation_sigma = math.log(10) / 10 * self._bench.fixed_attenuation_sigma_db
        tap_sigma = self._bench.tap_ratio_sigma / self._bench.tap_ratio
        return MeanPhoton(
            photons_per_slot(power_w, self._bench, self._link.slot_rate_hz),
            math.hypot(reading_sigma, attenuation_sigma, tap_sigma),
        )

    def _result(self, measured: list[MeanPhoton]) -> CalibrationResult:
        tolerance, checks = self._limits.mean_photon_tolerance, []
        values: dict[str, float] = {"attenuation_db": self._source.attenuator.attenuation_db()}
        for name, found, target, level in zip(
            CLASSES, measured, self._link.mean_photon_numbers, self._levels, strict=True
        ):
            values |= {
                f"mean_photon_number_{name}": found.value,
                f"relative_sigma_{name}": found.relative_sigma,
                f"dac_{name}": float(level),
            }
            low, high = target * (1 - tolerance), target * (1 + tolerance)
            checks.append(
                Check(
                    f"mean photon number {name}", found.value, found.value * found.relative_sigma, low, high, "photons"
                )
            )
            checks.append(
                Check(
                    f"relative uncertainty {name}",
                    found.relative_sigma,
                    0.0,
                    0.0,
                    self._limits.mean_photon_sigma_limit,
                    "",
                )
            )
        return CalibrationResult(
            routine=ROUTINE,
            time_unix_s=time.time(),
            validity_s=self._limits.validity_s,
            checks=tuple(checks),
            values=values,
            series={},
            instruments=self._serials,
        )
