"""The one physical model behind all fakes of a bench: simulated time, seeded randomness, what couples the instruments.

Simulated time is the transmitter's clock in ps. It advances only in `generate`, as tags are drained. A setting acts
at once on the light that arrives; symbols are those of the slot when it was sent, a fibre delay earlier.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sim_instruments.attacks.intercept_resend import KEY_MASK
from sim_instruments.emission import Emission, EmissionLog
from sim_instruments.environment import Faults, drifted, initial_environment, with_fault
from sim_instruments.knobs import KnobError, Knobs, distribution, each_in_range, in_range, whole_in_range
from sim_instruments.model import CHANNELS, DAC_FULL_SCALE, INTENSITIES, STATES, BenchModel
from sim_instruments.optics import Optics, optics
from sim_instruments.physics.generation import Light
from sim_instruments.physics.source import LOCKING_MODES, laser_power_w
from sim_instruments.physics.symbols import SymbolLaw, limits
from sim_instruments.tagstream import TagStream
from sim_instruments.truth import Gate, RunningTruth, centred_gates, click_rates_hz, summary, yields

BLOCK_PS = 10_000_000_000  # light and tags of this long are held at once
ATTACKS = ("intercept-resend",)


class World:
    """All fakes share one. Every public method takes `lock`, which may also be held around several calls."""

    def __init__(self, bench: BenchModel) -> None:
        self.bench = bench
        self.lock = threading.RLock()
        self.now_ps = 0
        drift, readings, tags = np.random.SeedSequence(bench.seed).spawn(3)
        self._drift_rng = np.random.default_rng(drift)
        self._reading_rng = np.random.default_rng(readings)
        self._knobs = Knobs()
        self._environment = initial_environment(bench)
        self._faults = Faults()
        self._attack_fraction = 0.0
        self._emissions = EmissionLog(bench.source.slot_ps, bench.channel.delay_ps)
        self._pattern: NDArray[np.uint8] | None = None
        self._session = 0  # ordinal of the present or last session
        self._session_key = np.uint64(0)
        self._session_origin_ps = 0
        self._session_end_ps: int | None = 0  # None while it runs
        self._stream = TagStream(bench, tags)
        self._next_drift_ps = bench.drift_step_ps
        self._stream.clock.begin_step(self._step_s, self._drift_rng)
        self._optics_cache: Optics | None = None
        self._light_cache: Light | None = None
        self._truth_cache: tuple[Emission, dict[str, float | list[float]]] | None = None
        self._truth = RunningTruth()

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
        """DAC words of state `index`: time bin (0 early, full scale late, 32768 both), phase (65536 is 2 pi)."""
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
        if symbols is not None and (symbols.ndim != 1 or symbols.size == 0 or np.any((symbols & 0xCC) != 0)):
            raise KnobError(
                "pattern: one symbol or more, each with state 0..3 in bits 0-3 and intensity in bits 4-5 only"
            )
        with self.lock:
            self._pattern = None if symbols is None else np.array(symbols, dtype=np.uint8)
            self._renew_emission()

    def set_transmitter_on(self, is_on: bool) -> None:
        """Modulated pulses leave only while this is on and a session or a pattern runs."""
        with self.lock:
            if is_on != self._knobs.is_transmitter_on:
                self._set(is_transmitter_on=bool(is_on))
                self._renew_emission()

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
        with self.lock:
            return laser_power_w(self.bench.source, self._knobs, self._faults.laser_fade)

    def is_transmitter_on(self) -> bool:
        """Whether the transmitter's pulses may leave."""
        with self.lock:
            return self._knobs.is_transmitter_on

    def tap_power_w(self) -> float:
        """One reading of the power meter at the monitor tap: its gain error and noise included."""
        with self.lock:
            attenuation = self.bench.attenuation
            true_w = float((self._probabilities() * self._optics().tap_w).sum())
            relative = attenuation.meter_gain * (1.0 + attenuation.meter_relative_noise * self._reading_rng.normal())
            return true_w * relative + attenuation.meter_noise_w * float(self._reading_rng.normal())

    def modulator_locked(self) -> bool:
        """Whether the bias loop holds an operating point: an automatic mode, and light to see."""
        with self.lock:
            is_lit = laser_power_w(self.bench.source, self._knobs, self._faults.laser_fade) > 1e-6
            return self._knobs.modulator_mode in LOCKING_MODES and is_lit and not self._faults.modulator_unlocked

    def count_rates_hz(self) -> tuple[float, ...]:
        """Expected count rate per detector for the light under way."""
        with self.lock:
            rates = click_rates_hz(self.bench, self._optics(), self._probabilities(), self._attack_fraction)
            return tuple(float(r) for r in rates)

    # --- symbols -----------------------------------------------------------------------------------------------------
    def start_session(self, session_id: str) -> int:
        """Begin a session; returns the transmitter-clock time of slot 0 in ps. Its symbols follow from the bench's seed
        and the session's name, or from the pattern if one is set."""
        with self.lock:
            self.stop_session()
            digest = hashlib.blake2b(f"{self.bench.seed}:{session_id}".encode(), digest_size=8).digest()
            self._session += 1
            self._session_key = np.uint64(int.from_bytes(digest, "little"))
            self._session_origin_ps = self.now_ps + round(self.bench.clock.session_delay_ps)
            self._session_end_ps = None
            self._renew_emission()
            return self._session_origin_ps

    def stop_session(self) -> None:
        """No slot of the session is sent any more; its symbols can still be asked for."""
        with self.lock:
            if self._session_end_ps is None:
                self._session_end_ps = self.now_ps
                self._renew_emission()

    def slot_now(self) -> int:
        """Slots of the present or last session already sent."""
        with self.lock:
            end_ps = self.now_ps if self._session_end_ps is None else self._session_end_ps
            return max(0, int((end_ps - self._session_origin_ps) / self.bench.source.slot_ps))

    def symbols(self, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Symbol bytes, uint8 [n], of slots of the present or last session; bit 7 set where it sent nothing."""
        with self.lock:
            return self._emissions.symbols(slots.astype(np.int64), self._session)

    # --- time --------------------------------------------------------------------------------------------------------
    def start_tagger(self) -> None:
        """The tagger's time 0 is now."""
        with self.lock:
            self._stream.restart_tagger()

    def generate(self, duration_ps: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Advance by `duration_ps` > 0. The tags of that time, all but those of its last few ns, which come first in
        the next call: int64 [n] ps in the tagger's clock, sorted, and uint8 [n] channels 1..4."""
        if duration_ps <= 0:
            raise ValueError(f"duration {duration_ps} ps must be positive")
        times, channels = [], []
        with self.lock:
            end_ps = self.now_ps + int(duration_ps)
            while self.now_ps < end_ps:
                time_ps, channel = self._generate_block(min(end_ps, self.now_ps + BLOCK_PS, self._next_drift_ps))
                times.append(time_ps)
                channels.append(channel)
        return np.concatenate(times), np.concatenate(channels)

    # --- faults, attacks, truth --------------------------------------------------------------------------------------
    def set_fault(self, name: str, value: float | bool) -> None:
        """Set a fault, or clear it with its neutral value; names are the fields of `environment.Faults`. KnobError."""
        with self.lock:
            self._faults = with_fault(self._faults, name, value)
            self._stream.clock.set_step_ps(self._faults.clock_step_ps)
            self._forget_optics()

    def faults(self) -> Faults:
        """The faults as they are."""
        with self.lock:
            return self._faults

    def set_attack(self, name: str | None, fraction: float = 1.0) -> None:
        """Put an eavesdropper on the channel, who treats `fraction` of the slots, or None. KnobError."""
        if name is not None and name not in ATTACKS:
            raise KnobError(f"attack {name!r} is unknown; there are {', '.join(ATTACKS)}")
        with self.lock:
            self._attack_fraction = 0.0 if name is None else in_range("attack fraction", fraction, 0.0, 1.0, "")
            self._forget_optics()

    def register_gates(self, gates: Sequence[Gate], common_dead_time_ps: float) -> None:
        """Gates for which `expectation_average` is kept from now on; as for `expectation`."""
        with self.lock:
            self._truth = RunningTruth(centred_gates(self.bench, gates), common_dead_time_ps)
            self._truth_cache = None

    def expectation(self, gates: Sequence[Gate], common_dead_time_ps: float) -> dict[str, float | list[float]]:
        """Truth for the present settings: qber_z, qber_x (ratios of sifted bits), rates in Hz, mean photon numbers per
        intensity class, ... (`truth.summary`). Gates are (channel, start_ps, width_ps, basis, bit) and count as centred
        on their pulses, whatever frame their start is given in (`truth.centred_gates`)."""
        with self.lock:
            return self._expectation(centred_gates(self.bench, gates), common_dead_time_ps, self._probabilities())

    def expectation_average(self) -> dict[str, float]:
        """Average of `expectation` over the light of sessions without a pattern since `register_gates`, weighted by
        sifted detections: qber_z, qber_x, the expected numbers behind them. Drifts, faults, attacks included."""
        with self.lock:
            return self._truth.result()

    # --- inside ------------------------------------------------------------------------------------------------------
    @property
    def _step_s(self) -> float:
        return self.bench.drift_step_ms * 1e-3

    def _set(self, **changes: object) -> None:
        with self.lock:
            self._knobs = replace(self._knobs, **changes)  # type: ignore[arg-type]
            self._forget_optics()

    def _forget_optics(self) -> None:
        self._optics_cache = None
        self._light_cache = None
        self._truth_cache = None

    def _optics(self) -> Optics:
        if self._optics_cache is None:
            self._optics_cache = optics(self.bench, self._knobs, self._environment, self._faults)
        return self._optics_cache

    def _light(self) -> Light:
        if self._light_cache is None:
            eve_key = np.uint64(self.bench.seed ^ KEY_MASK)
            self._light_cache = self._stream.light(self._optics(), eve_key, self._attack_fraction)
        return self._light_cache

    def _probabilities(self) -> NDArray[np.float64]:
        """Of each (state, intensity) of the light under way; all 0 when nothing is sent."""
        running = self._emissions.running(self.now_ps)
        return np.zeros((STATES, INTENSITIES)) if running is None else running.probabilities

    def _renew_emission(self) -> None:
        """End what is being sent, and begin what the session, the pattern and the transmitter's switch now ask for."""
        is_session = self._session_end_ps is None
        self._emissions.end(self.now_ps)
        self._emissions.forget(self.now_ps, self._session)
        if not self._knobs.is_transmitter_on or not (is_session or self._pattern is not None):
            return
        origin_ps = self._session_origin_ps if is_session else self.now_ps
        pattern = np.empty(0, dtype=np.uint8) if self._pattern is None else self._pattern
        law = SymbolLaw(
            self._session_key,
            limits(self._knobs.state_probabilities),
            limits(self._knobs.intensity_probabilities),
            pattern,
        )
        self._emissions.begin(max(self.now_ps, origin_ps), origin_ps, law, self._session if is_session else 0)

    def _generate_block(self, stop_ps: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """From now to `stop_ps`, within one drift step."""
        arrivals = self._emissions.arriving(self.now_ps, stop_ps)
        optics_now = self._optics()
        tags = self._stream.block(stop_ps - self.now_ps, arrivals, self._light(), optics_now.dark_hz, self.now_ps)
        for emission, first, last in arrivals:
            if emission.session and not emission.law.pattern.size and self._truth.gates:
                self._truth.add(self._registered_truth(emission), (last - first) * self.bench.source.slot_ps * 1e-12)
        self.now_ps = stop_ps
        if stop_ps == self._next_drift_ps:
            self._drift()
        return tags

    def _registered_truth(self, emission: Emission) -> dict[str, float | list[float]]:
        """The truth for the registered gates; worked out once per drift step or change of a setting."""
        if self._truth_cache is None or self._truth_cache[0] is not emission:
            gates, dead_ps = self._truth.gates, self._truth.common_dead_time_ps
            self._truth_cache = (emission, self._expectation(gates, dead_ps, emission.probabilities))
        return self._truth_cache[1]

    def _drift(self) -> None:
        self._environment = drifted(self._environment, self.bench, self._step_s, self._drift_rng)
        self._stream.clock.begin_step(self._step_s, self._drift_rng)
        self._next_drift_ps += self.bench.drift_step_ps
        self._forget_optics()

    def _expectation(
        self, gates: Sequence[Gate], common_dead_time_ps: float, probabilities: NDArray[np.float64]
    ) -> dict[str, float | list[float]]:
        found = yields(self.bench, self._optics(), probabilities, self._attack_fraction, gates, common_dead_time_ps)
        return summary(self.bench, self._optics(), probabilities, found)
