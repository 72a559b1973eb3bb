"""Settings of the TXP/1 transmitter: clock, slots, tables, probabilities, bias, and how they reach the world."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sim_instruments.instruments import txp_wire as wire
from sim_instruments.instruments.txp_wire import Command, TxpError
from sim_instruments.world import World

PROBABILITY_STEPS = 1 << 16  # resolution of the random number comparators
BIAS_LIMIT_V = 10.0
DAC_MOST = 65_535
STATE_TABLE = ((0, 0), (65_535, 0), (32_768, 0), (32_768, 32_768))
DEFAULT_HEARTBEAT_S = 5.0


@dataclass(slots=True)
class _Values:
    """What CONF:HASH? covers; volatile. An entry of the intensity table is (DAC word, mean photon number, sigma)."""

    slot_rate_hz: float
    clock: str = "INT"
    random_source: str = "SEED"
    state_probabilities: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    intensity_probabilities: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)
    state_table: list[tuple[int, int]] = field(default_factory=lambda: list(STATE_TABLE))
    intensity_table: list[tuple[int, float, float]] = field(default_factory=lambda: [(0, float("nan"), 0.0)] * 4)
    bias_v: float = 0.0
    heartbeat_s: float = DEFAULT_HEARTBEAT_S


class TxpSettings:
    """`require_idle` raises TxpError unless the state of the device allows settings. Commands hold the world's lock."""

    def __init__(self, world: World, require_idle: Callable[[], None]) -> None:
        self._world = world
        self._require_idle = require_idle
        self.power_on()

    def power_on(self) -> None:
        """Power-on values, and the world told of them."""
        self._values = _Values(self._world.bench.source.slot_rate_hz)
        for index, levels in enumerate(self._values.state_table):
            self._world.set_state_levels(index, *levels)
        for index, (dac, _, _) in enumerate(self._values.intensity_table):
            self._world.set_intensity_level(index, dac)
        self._world.set_state_probabilities(self._values.state_probabilities)
        self._world.set_intensity_probabilities(self._values.intensity_probabilities)
        self._world.set_phase_bias_v(self._values.bias_v)

    @property
    def heartbeat_s(self) -> float:
        """Longest absence of the control link, seconds."""
        return self._values.heartbeat_s

    def commands(self) -> dict[str, Callable[[Command], str]]:
        """Header to what answers it."""
        return {
            "CLOC:REF": self._set_clock,
            "CLOC:REF?": lambda _: self._values.clock,
            "CLOC:STAT?": lambda _: "1,1,0,0,0.0",
            "SLOT:RATE": self._set_slot_rate,
            "SLOT:RATE?": lambda _: f"{self._values.slot_rate_hz:.0f}",
            "STAT:TABL": self._set_state,
            "STAT:TABL?": lambda _: ",".join(f"{a},{b}" for a, b in self._values.state_table),
            "STAT:PROB": self._set_state_probabilities,
            "STAT:PROB?": lambda _: _csv(self._values.state_probabilities),
            "INT:TABL": self._set_intensity,
            "INT:TABL?": lambda _: ",".join(f"{d},{m:.9g},{s:.9g}" for d, m, s in self._values.intensity_table),
            "INT:PROB": self._set_intensity_probabilities,
            "INT:PROB?": lambda _: _csv(self._values.intensity_probabilities),
            "CONF:HASH?": lambda _: hashlib.sha256(repr(self._values).encode()).hexdigest(),
            "BIAS": self._set_bias,
            "BIAS?": self._bias,
            "HEART": self._set_heartbeat,
            "HEART?": lambda _: f"{self._values.heartbeat_s:g}",
            "RNG:SOUR": self._set_random_source,
            "RNG:SOUR?": lambda _: self._values.random_source,
        }

    def _set_clock(self, command: Command) -> str:
        if command.argument.upper() not in ("INT", "EXT10M"):
            raise TxpError(wire.NO_SUCH_HARDWARE, "clock references are INT and EXT10M")
        self._require_idle()
        self._values.clock = command.argument.upper()
        return "OK"

    def _set_slot_rate(self, command: Command) -> str:
        (rate_hz,) = numbers(command.argument, 1, 1)
        self._require_idle()
        only_hz = self._world.bench.source.slot_rate_hz
        if rate_hz != only_hz:
            raise TxpError(wire.OUT_OF_RANGE, f"the slot rate can only be {only_hz:.0f} Hz")
        return "OK"

    def _set_state(self, command: Command) -> str:
        values = [whole(v) for v in numbers(command.argument, 2, 3)]
        self._require_idle()
        index, levels = _index(values[0], 4), (values[1], values[2] if len(values) == 3 else 0)
        self._world.set_state_levels(index, *levels)
        self._values.state_table[index] = levels
        return "OK"

    def _set_intensity(self, command: Command) -> str:
        values = numbers(command.argument, 4, 4, allow_nan=True)
        self._require_idle()
        index, dac = _index(whole(values[0]), 4), whole(values[1])
        if not 0 <= dac <= DAC_MOST:
            raise TxpError(wire.OUT_OF_RANGE, f"DAC word {dac} is outside 0 to {DAC_MOST}")
        self._world.set_intensity_level(index, dac)
        self._values.intensity_table[index] = (dac, values[2], values[3])
        return "OK"

    def _set_state_probabilities(self, command: Command) -> str:
        realised = _realised(numbers(command.argument, 1, 4))
        self._require_idle()
        self._world.set_state_probabilities(realised)
        self._values.state_probabilities = realised
        return "OK"

    def _set_intensity_probabilities(self, command: Command) -> str:
        realised = _realised(numbers(command.argument, 1, 4))
        self._require_idle()
        self._world.set_intensity_probabilities(realised)
        self._values.intensity_probabilities = realised
        return "OK"

    def _set_bias(self, command: Command) -> str:
        channel, voltage_v = numbers(command.argument, 2, 2)
        if channel != 0:
            raise TxpError(wire.NO_SUCH_HARDWARE, f"there is no bias channel {channel:g}")
        if not -BIAS_LIMIT_V <= voltage_v <= BIAS_LIMIT_V:
            raise TxpError(wire.OUT_OF_RANGE, f"{voltage_v:g} V is outside {-BIAS_LIMIT_V:g} to {BIAS_LIMIT_V:g} V")
        self._world.set_phase_bias_v(voltage_v)
        self._values.bias_v = voltage_v
        return "OK"

    def _bias(self, command: Command) -> str:
        if command.argument not in ("", "0"):
            raise TxpError(wire.NO_SUCH_HARDWARE, f"there is no bias channel {command.argument[:20]}")
        return f"{self._values.bias_v:.6f}"

    def _set_heartbeat(self, command: Command) -> str:
        (seconds,) = numbers(command.argument, 1, 1)
        if not 0.1 <= seconds <= 3600:
            raise TxpError(wire.OUT_OF_RANGE, f"HEART {seconds:g} s is outside 0.1 to 3600 s")
        self._values.heartbeat_s = seconds
        return "OK"

    def _set_random_source(self, command: Command) -> str:
        if command.argument.upper() != "SEED":
            raise TxpError(wire.NO_SUCH_HARDWARE, "the random source is SEED: this transmitter is a rehearsal device")
        return "OK"


def numbers(text: str, least: int, most: int, *, allow_nan: bool = False) -> list[float]:
    """Between `least` and `most` numbers, comma separated. Raises TxpError -100."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise TxpError(wire.SYNTAX, f"not numbers: {text[:60]}") from None
    if not least <= len(values) <= most:
        raise TxpError(wire.SYNTAX, f"{len(values)} values; {least} to {most} needed")
    if np.any(np.isinf(values)) or (not allow_nan and np.any(np.isnan(values))):
        raise TxpError(wire.SYNTAX, f"not finite: {text[:60]}")
    return values


def whole(value: float) -> int:
    """Raises TxpError -100 if `value` is no whole number."""
    if not float(value).is_integer():
        raise TxpError(wire.SYNTAX, f"{value:g} is not a whole number")
    return int(value)


def _index(value: int, count: int) -> int:
    if not 0 <= value < count:
        raise TxpError(wire.OUT_OF_RANGE, f"index {value} is outside 0 to {count - 1}")
    return value


def _realised(probabilities: list[float]) -> tuple[float, ...]:
    """The distribution that the comparators can do: multiples of 2^-16; the largest takes what rounding leaves."""
    if min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
        raise TxpError(wire.OUT_OF_RANGE, f"probabilities must be 0 or more and sum to 1, not {sum(probabilities):.9g}")
    steps = [round(p * PROBABILITY_STEPS) for p in probabilities]
    steps[steps.index(max(steps))] += PROBABILITY_STEPS - sum(steps)
    return tuple(step / PROBABILITY_STEPS for step in steps)


def _csv(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.9g}" for value in values)
