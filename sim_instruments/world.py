"""The one physical model behind all fakes of a bench: simulated time, seeded randomness, what couples the instruments.

Simulated time is the transmitter's clock in ps. It advances only in `generate`, as tags are drained.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sim_instruments.knobs import Knobs, distribution, each_in_range, in_range, whole_in_range
from sim_instruments.model import CHANNELS, DAC_FULL_SCALE, INTENSITIES, STATES, BenchModel


class World:
    """All fakes share one. Every public method takes `lock`, which may also be held around several calls."""

    def __init__(self, bench: BenchModel) -> None:
        self.bench = bench
        self.lock = threading.RLock()
        self.now_ps = 0
        self._knobs = Knobs()
        self._rng = np.random.default_rng(bench.seed)
        self._pattern: NDArray[np.uint8] | None = None
        self._tagger_start_ps = 0
        self._session_start_ps: int | None = None

    # --- knobs -------------------------------------------------------------------------------------------------------
    def set_laser(self, current_a: float, is_on: bool) -> None:
        """Current of the laser diode, and whether the controller feeds it."""
        limit = self.bench.source.laser_max_current_a
        self._set(laser_current_a=in_range("laser current", current_a, 0.0, limit, "A"), is_laser_on=bool(is_on))

    def set_attenuator_db(self, attenuation_db: float) -> None:
        """Setting of the variable attenuator."""
        a = self.bench.attenuation
        self._set(attenuation_db=in_range("attenuation", attenuation_db, a.variable_min_db, a.variable_max_db, "dB"))

    def set_modulator_bias(self, mode: int, hold_voltage_v: float = 0.0) -> None:
        """Mode number of the bias controller and the voltage of its manual mode."""
        self._set(
            modulator_mode=whole_in_range("modulator mode", mode, 0, 9),
            modulator_hold_v=in_range("modulator hold voltage", hold_voltage_v, -10.0, 10.0, "V"),
        )

    def set_intensity_level(self, index: int, dac: int) -> None:
        """DAC word of the intensity modulator for intensity class `index`."""
        i = whole_in_range("intensity index", index, 0, INTENSITIES - 1)
        levels = list(self._knobs.intensity_dac)
        levels[i] = whole_in_range("intensity DAC word", dac, 0, DAC_FULL_SCALE)
        self._set(intensity_dac=tuple(levels))

    def set_state_levels(self, index: int, time_bin_dac: int, phase_dac: int = 0) -> None:
        """DAC words of state `index`: time bin (0 early, full scale late, 32768 both) and phase (65536 would be 2 pi)."""
        i = whole_in_range("state index", index, 0, STATES - 1)
        levels = list(self._knobs.state_levels)
        levels[i] = (
            whole_in_range("time bin DAC word", time_bin_dac, 0, DAC_FULL_SCALE),
            whole_in_range("phase DAC word", phase_dac, 0, DAC_FULL_SCALE),
        )
        self._set(state_levels=tuple(levels))

    def set_state_probabilities(self, probabilities: Sequence[float]) -> None:
        """Probabilities of the states, from the next session or pattern on."""
        self._set(state_probabilities=distribution("state probabilities", probabilities, STATES))

    def set_intensity_probabilities(self, probabilities: Sequence[float]) -> None:
        """Probabilities of the intensity classes, from the next session or pattern on."""
        self._set(intensity_probabilities=distribution("intensity probabilities", probabilities, INTENSITIES))

    def set_phase_bias_v(self, voltage_v: float) -> None:
        """Actuator of the interferometer's phase (the transmitter's bias channel 0)."""
        self._set(phase_bias_v=in_range("phase bias", voltage_v, -10.0, 10.0, "V"))

    def set_pattern(self, symbols: NDArray[np.uint8] | None) -> None:
        """Repeat these symbol bytes (None: none)."""
        with self.lock:
            self._pattern = None if symbols is None else np.array(symbols, dtype=np.uint8)

    def set_transmitter_on(self, is_on: bool) -> None:
        """Modulated pulses leave only while this is on and a session or a pattern runs."""
        self._set(is_transmitter_on=bool(is_on))

    def set_polarization_voltages_v(self, voltages_v: Sequence[float]) -> None:
        """The four voltages of the polarization controller."""
        self._set(polarization_v=each_in_range("polarization voltage", voltages_v, 4, -5.0, 5.0, "V"))

    def set_detector_enabled(self, is_enabled: bool) -> None:
        """Bias on or off for all detectors."""
        self._set(is_detector_enabled=bool(is_enabled))

    def set_detector_bias_a(self, currents_a: Sequence[float]) -> None:
        """Bias current per detector."""
        self._set(detector_bias_a=each_in_range("detector bias", currents_a, CHANNELS, 0.0, 1e-3, "A"))

    def set_trigger_levels_v(self, levels_v: Sequence[float]) -> None:
        """Discriminator level per detector."""
        self._set(trigger_level_v=each_in_range("trigger level", levels_v, CHANNELS, -2.0, 2.0, "V"))

    # --- read-outs ---------------------------------------------------------------------------------------------------
    def laser_power_w(self) -> float:
        """Average power behind the laser."""
        return 0.0

    def tap_power_w(self) -> float:
        """One reading of the power meter at the monitor tap."""
        return 0.0

    def modulator_locked(self) -> bool:
        """Whether the bias loop holds an operating point."""
        return self._knobs.modulator_mode in (1, 2, 3, 4, 8, 9)

    def count_rates_hz(self) -> tuple[float, ...]:
        """Expected count rate per detector."""
        return (0.0,) * CHANNELS

    # --- symbols -----------------------------------------------------------------------------------------------------
    def start_session(self, session_id: str) -> int:
        """Begin a session; returns the transmitter-clock time of slot 0 in ps."""
        with self.lock:
            self._session_start_ps = self.now_ps + round(self.bench.clock.session_delay_ps)
            return self._session_start_ps

    def stop_session(self) -> None:
        """No slot of the session is sent any more; its symbols can still be asked for."""

    def slot_now(self) -> int:
        """Slots of the session already sent."""
        return 0

    def symbols(self, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Symbol bytes of slots of the present or last session."""
        return np.zeros(slots.size, dtype=np.uint8)

    # --- time --------------------------------------------------------------------------------------------------------
    def start_tagger(self) -> None:
        """The tagger's time 0 is now."""
        with self.lock:
            self._tagger_start_ps = self.now_ps

    def generate(self, duration_ps: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Advance by `duration_ps`; the tags of that time: int64 [n] ps in the tagger's clock, sorted, and uint8 [n]
        channels 1..4."""
        with self.lock:
            start, self.now_ps = self.now_ps, self.now_ps + duration_ps
            n = int(self._rng.poisson(1e3 * duration_ps * 1e-12))
            time_ps = np.sort(self._rng.integers(start, self.now_ps, n)) - self._tagger_start_ps
            return time_ps, self._rng.integers(1, CHANNELS + 1, n).astype(np.uint8)

    # --- faults, attacks, truth ----------------------------------------------------------------------------------------
    def set_fault(self, name: str, value: float | bool) -> None:
        """Set a fault, or clear it with its neutral value (see sim_instruments.faults)."""

    def set_attack(self, name: str | None, fraction: float = 1.0) -> None:
        """Put an eavesdropper on the channel ("intercept-resend"), or None."""

    def register_gates(self, gates: Sequence[tuple[int, float, float, int, int]], common_dead_time_ps: int) -> None:
        """Gates for which `expectation_average` is kept from now on."""

    def expectation(
        self, gates: Sequence[tuple[int, float, float, int, int]], common_dead_time_ps: int
    ) -> dict[str, float | list[float]]:
        """Truth for the present knobs; gates are (channel, start_ps, width_ps, basis, bit), start relative to the true
        arrival of the early pulse on that channel (skew removed)."""
        return {}

    def expectation_average(self) -> dict[str, float | list[float]]:
        """Average of `expectation` over what was generated since `register_gates` or the start of the session."""
        return {}

    def _set(self, **changes: object) -> None:
        with self.lock:
            self._knobs = replace(self._knobs, **changes)  # type: ignore[arg-type]
