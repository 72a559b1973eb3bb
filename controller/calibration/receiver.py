"""Bob's calibrations: polarization by count rate, delays and gates by the scan of the acceptance window, counts for
the phase sweep.

Each measures on a fresh stretch of tags while Alice repeats a known pattern (physics.md §5, routines 2, 12 and 15).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from controller.acquisition import ReceiverCalibration, capture
from controller.calibration.result import CalibrationResult, Check
from controller.config import CalibrationSection, ReceiverBench
from drivers.roles import PolarizationController, TimeTagger
from postproc.records import Basis, Gate
from postproc.timing.delay_scan import DelayScan, scan_delays
from postproc.timing.frequency import recover_period

POLARIZATION, GATES = "polarization", "gates"
RATE_TAGS = 30_000
PHASE_TAGS = 60_000
CAPTURE_TIMEOUT_S = 10.0
GOOD_RATE_RATIO = 0.85
POLARIZATION_STEPS_V = (1.2, 0.6, 0.3, 0.15)
MAX_FWHM_PS = 300.0
SEARCH_PPM = 20.0
CAPTURE_LIMIT = 0.98
UNLIMITED = 1e12  # JSON has no infinity


class ReceiverRoutines:
    """The routines of one receiver. Every method blocks for up to some seconds."""

    def __init__(
        self,
        tagger: TimeTagger,
        bench: ReceiverBench,
        limits: CalibrationSection,
        slot_rate_hz: float,
        serials: dict[str, str],
    ) -> None:
        self._tagger, self._bench, self._limits = tagger, bench, limits
        self._period_ps = 1e12 / slot_rate_hz
        self._serials = serials

    def click_rate_hz(self) -> float:
        """Clicks per second on all channels, from a short capture."""
        batch = capture(self._tagger, self._bench.channels, RATE_TAGS, CAPTURE_TIMEOUT_S)
        return len(batch) / max(float(batch.time_ps[-1] - batch.time_ps[0]) * 1e-12, 1e-9)

    def align_polarization(self, controller: PolarizationController, expected_rate_hz: float) -> CalibrationResult:
        """Maximise the click rate by coordinate search; stops early once it is as expected.

        The rate has noise of 1/sqrt(RATE_TAGS) = 0.6 %, so steps are kept only when they gain more than that.
        """
        low, high = controller.voltage_limits_v
        voltages = list(self._bench.polarization_v or (0.0,) * controller.channels)

        def rate_at(trial: list[float]) -> float:
            controller.set_voltages_v(trial)
            return self.click_rate_hz()

        best = rate_at(voltages)
        for step in POLARIZATION_STEPS_V:
            if best >= GOOD_RATE_RATIO * expected_rate_hz:
                break
            best, voltages = _search(rate_at, voltages, best, step, low, high)
        controller.set_voltages_v(voltages)
        ratio = self.click_rate_hz() / expected_rate_hz
        return self._result(
            POLARIZATION,
            (Check("click rate relative to the expectation", ratio, 0.006, 0.7, 1.4, ""),),
            {f"voltage_{channel}_v": voltage for channel, voltage in enumerate(voltages)},
            {},
        )

    def find_gates(self) -> CalibrationResult:
        """Delays of all channels and the acceptance windows, from one capture under the delay pattern."""
        key, *test = self._bench.channels
        batch = capture(self._tagger, self._bench.channels, self._limits.scan_tags, CAPTURE_TIMEOUT_S)
        on_key = batch.time_ps[batch.channel == key]
        period = recover_period(on_key, self._period_ps, SEARCH_PPM)
        scan = scan_delays(
            batch.time_ps, batch.channel, period.period_ps, key_channel=key, test_channels=(test[0], test[1])
        )
        return self._gates_result(scan, period.period_ps)

    def count_outputs(self) -> tuple[int, int]:
        """Clicks of the interferometer's two outputs. Half of the light in that arm does not interfere and is in both
        alike.
        """
        batch = capture(self._tagger, self._bench.channels, PHASE_TAGS, CAPTURE_TIMEOUT_S)
        counts = np.bincount(batch.channel, minlength=256)
        return int(counts[self._bench.channels[1]]), int(counts[self._bench.channels[2]])

    def _gates_result(self, scan: DelayScan, period_ps: float) -> CalibrationResult:
        checks: list[Check] = []
        values: dict[str, float] = {"period_ps": period_ps, "phase_ps": scan.phase_ps}
        for c in scan.channels:
            checks += [
                Check(
                    f"peak of channel {c.channel}",
                    c.significance,
                    0.0,
                    self._limits.gate_significance,
                    UNLIMITED,
                    "sigma",
                ),
                Check(f"width of channel {c.channel}", c.fwhm_ps, scan.bin_ps, 0.0, MAX_FWHM_PS, "ps"),
                Check(f"captured by the gate of channel {c.channel}", c.captured, 0.001, CAPTURE_LIMIT, 1.01, ""),
            ]
            values[f"delay_ps_{c.channel}"] = c.delay_ps
        for index, gate in enumerate(scan.gates):
            values |= {
                f"gate_{index}_channel": float(gate.channel),
                f"gate_{index}_start_ps": gate.start_ps,
                f"gate_{index}_width_ps": gate.width_ps,
                f"gate_{index}_basis": float(gate.basis),
                f"gate_{index}_bit": float(gate.bit),
            }
        series = {f"profile_{number}": profile.astype(float).tolist() for number, profile in scan.profiles.items()}
        return self._result(GATES, tuple(checks), values, series | {"bin_ps": [scan.bin_ps]})

    def _result(
        self, routine: str, checks: tuple[Check, ...], values: dict[str, float], series: dict[str, list[float]]
    ) -> CalibrationResult:
        return CalibrationResult(
            routine=routine,
            time_unix_s=time.time(),
            validity_s=self._limits.validity_s,
            checks=checks,
            values=values,
            series=series,
            instruments=self._serials,
        )


def receiver_calibration(result: CalibrationResult) -> ReceiverCalibration:
    """Gates and delays out of a result of `find_gates`."""
    v, gates, index = result.values, [], 0
    while f"gate_{index}_channel" in v:
        gates.append(
            Gate(
                channel=int(v[f"gate_{index}_channel"]),
                start_ps=v[f"gate_{index}_start_ps"],
                width_ps=v[f"gate_{index}_width_ps"],
                basis=Basis(int(v[f"gate_{index}_basis"])),
                bit=int(v[f"gate_{index}_bit"]),
            )
        )
        index += 1
    delays = {int(name.removeprefix("delay_ps_")): value for name, value in v.items() if name.startswith("delay_ps_")}
    return ReceiverCalibration(tuple(gates), delays)


def polarization_voltages(result: CalibrationResult) -> tuple[float, ...]:
    """Voltages per channel out of a result of `align_polarization`."""
    names = sorted(name for name in result.values if name.startswith("voltage_"))
    return tuple(result.values[name] for name in names)


def _search(
    rate_at: Callable[[list[float]], float], start: list[float], best: float, step: float, low: float, high: float
) -> tuple[float, list[float]]:
    """One pass of coordinate search: per channel, walk in the direction that gains until it gains no more."""
    voltages = list(start)
    for channel in range(len(voltages)):
        for direction in (step, -step):
            moved = False
            while low <= voltages[channel] + direction <= high:
                trial = list(voltages)
                trial[channel] += direction
                rate = rate_at(trial)
                if rate < best * 1.01:
                    break
                best, voltages, moved = rate, trial, True
            if moved:
                break
    return best, voltages
