"""The physical parameters of a bench, frozen and checked: the `[world]` table of a bench file.

Units stand in the names. Every limit is a physical one; a value outside is refused with its path, value and limit.
What an instrument is told at run time (laser current, attenuation, voltages) is not here: see `sim_instruments.knobs`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PLANCK_J_S = 6.62607015e-34
LIGHT_SPEED_M_S = 299_792_458.0
CHANNELS = 4  # inputs of the time tagger; channel numbers count from 1
STATES = 4
INTENSITIES = 4
DAC_FULL_SCALE = 65_535

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
PerChannel = tuple[float, float, float, float]
_Angle = Annotated[float, Field(ge=-3.2, le=3.2)]
_NearOne = Annotated[float, Field(ge=0.5, le=1.5)]


class BenchModelError(ValueError):
    """The `[world]` table describes no possible bench. The message lists every wrong value with its path and limit."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SourceModel(_Table):
    """Pulsed laser, intensity modulator, state encoder; average power over the slot."""

    wavelength_nm: float = Field(default=1550.12, ge=400.0, le=2000.0)
    slot_rate_hz: float = Field(default=625e6, ge=1e6, le=10e9)
    pulse_fwhm_ps: float = Field(default=50.0, ge=1.0, le=1000.0)
    pulse_separation_ps: float = Field(default=800.0, gt=0.0, le=1e6)
    laser_threshold_a: float = Field(default=0.010, ge=0.0, le=1.0)
    laser_slope_w_per_a: float = Field(default=0.020, gt=0.0, le=10.0)
    laser_max_current_a: float = Field(default=0.200, gt=0.0, le=5.0)
    modulator_insertion_loss_db: float = Field(default=6.0, ge=0.0, le=30.0)
    modulator_extinction_db: float = Field(default=27.0, ge=5.0, le=60.0)
    modulator_dac_vpi: float = Field(default=65_000.0, gt=1000.0, le=1e6)  # DAC steps from null to full transmission
    modulator_vpi_v: float = Field(default=4.5, gt=0.0, le=50.0)  # bias electrode
    modulator_null_bias_v: float = Field(default=1.7, ge=-10.0, le=10.0)  # where manual mode sits at the null
    modulator_lock_residual_rad: float = Field(default=0.02, ge=0.0, le=1.0)
    modulator_free_phase_rad: float = Field(default=1.3, ge=-7.0, le=7.0)  # bias phase when no loop holds it
    encoder_insertion_loss_db: float = Field(default=5.0, ge=0.0, le=30.0)
    encoder_crosstalk_ratio: Ratio = 0.013  # part of a pulse that leaves in the other time bin, incoherently
    encoder_phase_error_rad: tuple[_Angle, _Angle, _Angle, _Angle] = (0.0, 0.0, 0.03, -0.04)  # per state
    state_relative_intensity: tuple[_NearOne, _NearOne, _NearOne, _NearOne] = (1.0, 0.999, 1.001, 1.0)  # per state

    @property
    def slot_ps(self) -> float:
        """Slot period, ps."""
        return 1e12 / self.slot_rate_hz

    @property
    def photon_energy_j(self) -> float:
        """Energy of one photon."""
        return PLANCK_J_S * LIGHT_SPEED_M_S / (self.wavelength_nm * 1e-9)


class AttenuationModel(_Table):
    """Variable attenuator, monitor tap with its power meter, fixed attenuation: true values, which a station's
    configuration knows only within an uncertainty."""

    variable_min_db: float = Field(default=0.5, ge=0.0, le=10.0)
    variable_max_db: float = Field(default=20.0, gt=0.0, le=80.0)
    variable_error_db: float = Field(default=0.08, ge=-3.0, le=3.0)  # true attenuation minus the setting
    tap_ratio: float = Field(default=0.101, gt=0.0, lt=1.0)  # to the power meter
    fixed_db: float = Field(default=50.06, ge=0.0, le=120.0)  # between the tap and the fibre
    meter_gain: float = Field(default=1.005, gt=0.5, le=2.0)  # reading over truth
    meter_relative_noise: float = Field(default=0.002, ge=0.0, le=0.5)  # standard deviation of one reading
    meter_noise_w: float = Field(default=2e-11, ge=0.0, le=1e-6)


class ChannelModel(_Table):
    """Fibre and polarization."""

    length_km: float = Field(default=50.0, ge=0.0, le=1000.0)
    loss_db_per_km: float = Field(default=0.2, ge=0.0, le=100.0)
    delay_us_per_km: float = Field(default=4.897, ge=0.0, le=10.0)
    fluctuation_db: float = Field(default=0.03, ge=0.0, le=3.0)  # standard deviation of the slow loss fluctuation
    fluctuation_time_s: float = Field(default=20.0, gt=0.0, le=1e6)
    polarization_offset_rad: float = Field(default=0.05, ge=-7.0, le=7.0)  # initial misalignment at zero volts
    polarization_walk_rad2_per_s: float = Field(default=2e-6, ge=0.0, le=10.0)
    polarization_controller_vpi_v: float = Field(default=2.5, gt=0.0, le=100.0)

    @property
    def loss_db(self) -> float:
        """Nominal loss of the whole fibre."""
        return self.length_km * self.loss_db_per_km

    @property
    def delay_ps(self) -> float:
        """Propagation time."""
        return self.length_km * self.delay_us_per_km * 1e6


class ReceiverModel(_Table):
    """Passive splitter, straight arm to detector 1, unbalanced interferometer to detectors 2 and 3."""

    z_arm_ratio: Ratio = 0.667
    z_arm_loss_db: float = Field(default=0.0, ge=0.0, le=40.0)
    x_arm_loss_db: float = Field(default=0.0, ge=0.0, le=40.0)
    interferometer_visibility: Ratio = 0.972
    interferometer_phase_rad: float = Field(default=0.9, ge=-7.0, le=7.0)  # at the start, with 0 V on the actuator
    interferometer_drift_rad_per_s: float = Field(default=0.002, ge=-100.0, le=100.0)
    interferometer_walk_rad2_per_s: float = Field(default=2e-6, ge=0.0, le=100.0)
    phase_actuator_vpi_v: float = Field(default=3.5, gt=0.0, le=100.0)
    visibility_per_misalignment: Ratio = 0.5  # visibility lost when the polarization is fully wrong
    efficiency_when_crossed: Ratio = 0.3  # relative detection efficiency when the polarization is fully wrong


class DetectorModel(_Table):
    """Superconducting nanowire detectors behind one driver; per channel where four values are given."""

    efficiency: tuple[Ratio, Ratio, Ratio, Ratio] = (0.80, 0.79, 0.81, 0.80)  # at the nominal bias
    nominal_bias_a: float = Field(default=20e-6, gt=0.0, le=1e-3)
    plateau_width_a: float = Field(default=1.5e-6, gt=0.0, le=1e-3)  # width of the rise of efficiency with bias
    half_efficiency_bias_a: float = Field(default=14e-6, gt=0.0, le=1e-3)
    switching_bias_a: float = Field(default=24e-6, gt=0.0, le=1e-3)  # above it a wire stays normal and counts nothing
    dark_rate_hz: PerChannel = (100.0, 90.0, 110.0, 100.0)  # at the nominal bias
    dark_scale_a: float = Field(default=1e-6, gt=0.0, le=1e-3)  # bias change that multiplies dark counts by e
    pulse_height_v: float = Field(default=0.40, gt=0.0, le=10.0)
    electronic_noise_v: float = Field(default=0.015, ge=0.0, le=1.0)
    dead_time_ps: PerChannel = (20_000.0, 20_000.0, 20_000.0, 20_000.0)
    jitter_fwhm_ps: PerChannel = (40.0, 42.0, 41.0, 40.0)
    afterpulse_probability: Ratio = 1e-3
    afterpulse_time_ps: float = Field(default=50_000.0, gt=0.0, le=1e9)
    delay_skew_ps: PerChannel = (130.0, 410.0, -240.0, 0.0)

    @model_validator(mode="after")
    def _check_channels(self) -> DetectorModel:
        for name, least, most in (
            ("dark_rate_hz", 0.0, 1e7),
            ("dead_time_ps", 0.0, 1e9),
            ("jitter_fwhm_ps", 0.0, 5000.0),
            ("delay_skew_ps", -100_000.0, 100_000.0),
        ):
            for channel, value in enumerate(getattr(self, name), start=1):
                if not least <= value <= most:
                    raise ValueError(f"{name} of channel {channel} is {value:g}; it must lie in [{least:g}, {most:g}]")
        if not self.half_efficiency_bias_a < self.nominal_bias_a < self.switching_bias_a:
            raise ValueError(
                f"bias currents must rise: half_efficiency_bias_a {self.half_efficiency_bias_a:g} < nominal_bias_a "
                f"{self.nominal_bias_a:g} < switching_bias_a {self.switching_bias_a:g}"
            )
        return self


class ClockModel(_Table):
    """The tagger's clock against the transmitter's."""

    has_shared_10mhz: bool = True  # a shared reference leaves only the walk
    frequency_offset_ppm: float = Field(default=1.5, ge=-100.0, le=100.0)  # without a shared reference
    frequency_walk_per_sqrt_s: float = Field(default=1e-11, ge=0.0, le=1e-6)  # fractional frequency random walk
    phase_walk_ps_per_sqrt_s: float = Field(default=2.0, ge=0.0, le=1e6)
    session_delay_ps: float = Field(default=5e6, ge=0.0, le=1e12)  # from the order to start to slot 0


class BenchModel(_Table):
    """One bench. `seed` fixes every random choice of the twin, symbols included."""

    seed: int = Field(default=1, ge=0, lt=2**63)
    drift_step_ms: float = Field(default=50.0, ge=0.1, le=1000.0)  # drifts stand still within a step
    source: SourceModel = SourceModel()
    attenuation: AttenuationModel = AttenuationModel()
    channel: ChannelModel = ChannelModel()
    receiver: ReceiverModel = ReceiverModel()
    detectors: DetectorModel = DetectorModel()
    clock: ClockModel = ClockModel()

    @property
    def drift_step_ps(self) -> int:
        """Length of a drift step in whole ps."""
        return round(self.drift_step_ms * 1e9)


def bench_model(world: Mapping[str, Any], where: str = "[world]") -> BenchModel:
    """The `[world]` table as a model. Raises BenchModelError naming every bad key, value and limit."""
    try:
        return BenchModel.model_validate(world)
    except ValidationError as error:
        raise BenchModelError(_explain(error, where)) from error


def read_bench_model(path: Path) -> BenchModel:
    """The `[world]` table of a bench file. Raises BenchModelError, also for unreadable TOML or a missing table."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BenchModelError(f"{path}: cannot be read as TOML: {error}") from error
    if not isinstance(document.get("world"), dict):
        raise BenchModelError(f"{path}: has no [world] table; see configs/demo/bench.toml for one")
    return bench_model(document["world"], f"{path}: [world]")


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "table"
        value = fault["input"] if not isinstance(fault["input"], (dict, BaseModel)) else "the table"
        lines.append(f"{where} {key}: {fault['msg']} (value: {value!r})")
    return "\n".join(lines)
