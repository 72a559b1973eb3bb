"""What the instruments of a bench have been told: one frozen value, replaced as a whole when a fake changes something.

The defaults are those of instruments just powered on: laser off, attenuator at its most, detectors off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sim_instruments.model import CHANNELS, DAC_FULL_SCALE, INTENSITIES, STATES


class KnobError(ValueError):
    """A setting that the hardware cannot take. A fake turns it into its instrument's own error reply."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """Settings that change the physics.

    modulator_mode: the bias controller's own mode number (0 off, 1 autopeak, 2 autonull, 3/4 autoquad, 5/6 holdquad,
    7 manual, 8/9 autopower). state_levels: per state, DAC words of (time bin: 0 early, full scale late; phase: 0 to
    2 pi).
    """

    laser_current_a: float = 0.0
    is_laser_on: bool = False
    attenuation_db: float = 20.0
    modulator_mode: int = 0
    modulator_hold_v: float = 0.0
    intensity_dac: tuple[int, ...] = (0,) * INTENSITIES
    state_levels: tuple[tuple[int, int], ...] = ((0, 0), (DAC_FULL_SCALE, 0), (32_768, 0), (32_768, 32_768))
    state_probabilities: tuple[float, ...] = (0.25,) * STATES
    intensity_probabilities: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)
    is_transmitter_on: bool = False
    phase_bias_v: float = 0.0
    polarization_v: tuple[float, ...] = (0.0,) * 4
    is_detector_enabled: bool = False
    detector_bias_a: tuple[float, ...] = (0.0,) * CHANNELS
    trigger_level_v: tuple[float, ...] = (0.1,) * CHANNELS


def in_range(what: str, value: float, least: float, most: float, unit: str) -> float:
    """`value` if it is finite and lies in [least, most]; KnobError otherwise."""
    if not (math.isfinite(value) and least <= value <= most):
        raise KnobError(f"{what} = {value:g} {unit} is outside [{least:g}, {most:g}] {unit}")
    return float(value)


def whole_in_range(what: str, value: int, least: int, most: int) -> int:
    """`value` if it is a whole number in [least, most]; KnobError otherwise."""
    if isinstance(value, bool) or int(value) != value or not least <= value <= most:
        raise KnobError(f"{what} = {value!r} is not a whole number in [{least}, {most}]")
    return int(value)


def each_in_range(
    what: str, values: Sequence[float], count: int, least: float, most: float, unit: str
) -> tuple[float, ...]:
    """`values` as a tuple if there are `count` of them, each in range; KnobError otherwise."""
    if len(values) != count:
        raise KnobError(f"{what}: {len(values)} values given, {count} needed")
    return tuple(in_range(f"{what}[{i}]", v, least, most, unit) for i, v in enumerate(values))


def distribution(what: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    """Up to `count` probabilities that sum to 1 within 1e-6, padded with zeros; KnobError otherwise."""
    if not 1 <= len(values) <= count:
        raise KnobError(f"{what}: {len(values)} values given, 1 to {count} possible")
    checked = each_in_range(what, values, len(values), 0.0, 1.0, "")
    if abs(sum(checked) - 1.0) > 1e-6:
        raise KnobError(f"{what}: probabilities sum to {sum(checked):.9g}, not to 1")
    return checked + (0.0,) * (count - len(checked))
