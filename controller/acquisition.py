"""From the tag stream to frozen blocks: one thread per transmitter session at the receiver.

    tagger -> wait for the onset of light -> period -> (sync string from Alice) -> offset, confirmed on fresh data
           -> track the clock -> gate, resolve, dead time -> blocks of fixed slots

A finished block waits until its round takes it; while `MAX_WAITING_BLOCKS` wait, nothing is read and the tagger is
held back. What goes wrong ends the thread with one named event; nothing is dropped in silence.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.arrivals import arrival_histogram
from controller.monitoring.rates import rate_fault
from drivers.errors import InstrumentError, InstrumentTimeout, TagsLost
from drivers.roles import TimeTagger
from drivers.tags import AnomalyKind, TagBatch
from postproc.errors import PostprocError, SynchronisationLost
from postproc.records import Detections, Gate
from postproc.timing.blocks import BlockCollector, entropy_bytes_needed
from postproc.timing.clock import ClockSegment
from postproc.timing.frequency import recover_period
from postproc.timing.offset import find_offset, find_onset
from postproc.timing.tracking import ClockTracker

MAX_WAITING_BLOCKS = 2
PERIOD_SPAN_PS = 10_000_000_000  # light used to recover the period: 10 ms
SEARCH_PPM = 10.0
SEARCH_SLOTS = 1 << 17
READ_TIMEOUT_S = 1.0
REPORT_INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True)
class ReceiverCalibration:
    """What the gate scan found: acceptance windows, and the delay of each channel."""

    gates: tuple[Gate, ...]
    channel_delays_ps: Mapping[int, float]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that have gates, ascending."""
        return tuple(sorted({gate.channel for gate in self.gates}))


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Which slots the blocks are, and how the light should look."""

    session_id: str
    slot_period_ps: float
    sync_slots: int
    first_block_slot: int
    block_slots: int
    common_dead_time_ps: int
    expected_click_rate_hz: float  # of all detectors together
    max_detector_rate_hz: float
    max_sync_error_ratio: float  # of the disclosed sync string: above it no block can become a key
    onset_timeout_s: float


# ---- events, handed to `notify` from the acquisition's thread


@dataclass(frozen=True, slots=True)
class Synchronised:
    """Offset found and confirmed."""

    z_score: float
    confirm_z: float
    qber: float
    period_ps: float


@dataclass(frozen=True, slots=True, repr=False)
class BlockAcquired:
    """A block is frozen."""

    detections: Detections


@dataclass(frozen=True, slots=True)
class RateReport:
    """Clicks per second (tagger time) and channel since the last report; ratio of the sum to what is expected; clock
    state.
    """

    rates_hz: tuple[float, ...]
    ratio: float
    drift_ppm: float
    residual_ps: float
    time_ps: int
    arrivals: NDArray[np.int64]  # histogram of phases in the slot (controller.arrivals)


@dataclass(frozen=True, slots=True)
class AcquisitionEnded:
    """The thread is over. `code` is an alarm id, or "" when it was asked to stop."""

    code: str
    text: str


AcquisitionEvent = Synchronised | BlockAcquired | RateReport | AcquisitionEnded


class _Stopped(Exception):
    """The owner asked for the end."""


class Acquisition:
    """One session. `give_sync_string`, `release_block` and `stop` may be called from any thread."""

    def __init__(
        self,
        tagger: TimeTagger,
        calibration: ReceiverCalibration,
        plan: SessionPlan,
        notify: Callable[[AcquisitionEvent], None],
    ) -> None:
        self._tagger, self._calibration, self._plan, self._notify = tagger, calibration, plan, notify
        self._stop = threading.Event()
        self._string: NDArray[np.uint8] | None = None
        self._string_given = threading.Event()
        self._free_blocks = threading.Semaphore(MAX_WAITING_BLOCKS)
        self._thread = threading.Thread(target=self._run, name=f"acquisition-{plan.session_id}", daemon=True)
        self._delays = np.zeros(256, np.int64)
        for channel, delay in calibration.channel_delays_ps.items():
            self._delays[channel] = round(delay)
        self._last_report_s = 0.0
        self._was_low = False
        self._clicks = np.zeros(256, np.int64)
        self._report_from_ps = 0
        self._segment = ClockSegment(0, 0, 0.0, plan.slot_period_ps)

    def start(self) -> None:
        """Start the tagger and the thread. Raises InstrumentError when the tagger refuses."""
        self._tagger.start(self._calibration.channels)
        self._thread.start()

    def give_sync_string(self, symbols: NDArray[np.uint8]) -> None:
        """Alice's disclosed symbols of the first slots."""
        self._string = symbols
        self._string_given.set()

    def release_block(self) -> None:
        """A round took a block; one more may be acquired."""
        self._free_blocks.release()

    def stop(self) -> None:
        """Ask for the end and wait for it; the tagger is stopped."""
        self._stop.set()
        self._string_given.set()
        self._free_blocks.release()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    # ---- the thread

    def _run(self) -> None:
        code, text = "", ""
        try:
            self._acquire()
        except _Stopped:
            text = "stopped"
        except SynchronisationLost as error:
            code, text = "sync-lost", str(error)
        except TagsLost as error:
            code, text = "tags-lost", str(error)
        except InstrumentError as error:
            code, text = "instrument-failed", str(error)
        except PostprocError as error:
            code, text = "sync-lost", str(error)
        except _Dark as error:
            code, text = error.code, str(error)
        try:
            self._tagger.stop()
        except InstrumentError as error:
            code, text = code or "instrument-failed", f"{text}; stopping the tagger: {error}"
        self._notify(AcquisitionEnded(code, text))

    def _acquire(self) -> None:
        held, onset_ps = self._read_until_light()
        time_ps, channel = held.time_ps, held.channel
        corrected = np.sort(time_ps - self._delays[channel])
        lit = corrected[np.searchsorted(corrected, onset_ps) :]
        period = recover_period(lit, self._plan.slot_period_ps, SEARCH_PPM)
        string = self._wait_for_string()
        offset = find_offset(
            time_ps,
            channel,
            string,
            period_ps=period.period_ps,
            onset_ps=onset_ps,
            gates=self._calibration.gates,
            search_slots=SEARCH_SLOTS,
        )
        if offset.qber > self._plan.max_sync_error_ratio:
            limit = self._plan.max_sync_error_ratio
            raise _Dark("qber-z", f"error ratio of the disclosed sync string {offset.qber:.3f} > {limit:.3f}")
        self._notify(Synchronised(offset.z_score, offset.confirm_z, offset.qber, period.period_ps))
        tracker = ClockTracker(
            offset.slot_zero_time_ps, period.period_ps, self._calibration.gates, period_sigma_ps=max(period.sigma, 1e-6)
        )
        first = int(np.searchsorted(time_ps, offset.slot_zero_time_ps))
        self._stream(tracker, TagBatch(time_ps[first:], channel[first:], held.flags[first:], held.complete_until_ps))

    def _read_until_light(self) -> tuple[TagBatch, int]:
        """All tags since the tagger's start, until PERIOD_SPAN_PS of light have been seen; and the onset's time."""
        batches: list[TagBatch] = []
        give_up_s = time.monotonic() + self._plan.onset_timeout_s
        while True:
            batches.append(self._read())
            held = _joined(batches)
            batches = [held]
            try:
                onset_ps = find_onset(held.time_ps)
            except SynchronisationLost as error:
                if time.monotonic() > give_up_s:
                    raise _Dark("no-light", f"no light within {self._plan.onset_timeout_s:g} s: {error}") from error
                continue
            if held.complete_until_ps - onset_ps >= PERIOD_SPAN_PS:
                self._require_rate(held, onset_ps)
                return held, onset_ps
            if time.monotonic() > give_up_s:
                raise _Dark("no-light", f"light came but {PERIOD_SPAN_PS * 1e-9:g} ms of it did not arrive in time")

    def _require_rate(self, held: TagBatch, onset_ps: int) -> None:
        lit = held.channel[int(np.searchsorted(held.time_ps, onset_ps)) :]
        clicks = np.bincount(lit, minlength=256)[list(self._calibration.channels)]
        rates = tuple(float(n) / ((held.complete_until_ps - onset_ps) * 1e-12) for n in clicks)
        if (fault := rate_fault(rates, self._plan.expected_click_rate_hz, self._plan.max_detector_rate_hz)) is not None:
            raise _Dark(*fault)

    def _wait_for_string(self) -> NDArray[np.uint8]:
        self._string_given.wait(timeout=self._plan.onset_timeout_s)
        if self._stop.is_set():
            raise _Stopped
        if self._string is None or self._string.size != self._plan.sync_slots:
            size = 0 if self._string is None else self._string.size
            raise SynchronisationLost(f"sync string of {size} symbols, {self._plan.sync_slots} expected")
        return self._string

    def _stream(self, tracker: ClockTracker, batch: TagBatch) -> None:
        collector = BlockCollector(
            self._plan.first_block_slot,
            self._plan.block_slots,
            gates=self._calibration.gates,
            common_dead_time_ps=self._plan.common_dead_time_ps,
            channel_delays_ps=dict(self._calibration.channel_delays_ps),
        )
        self._report_from_ps = int(batch.time_ps[0]) if len(batch) else batch.complete_until_ps
        while True:
            for segment in self._follow(tracker, batch):
                piece = slice(segment.start, segment.stop)
                entropy = np.frombuffer(
                    secrets.token_bytes(entropy_bytes_needed(segment.stop - segment.start)), np.uint8
                )
                collector.feed(batch.time_ps[piece], batch.channel[piece], segment, entropy)
                self._segment = segment
            self._count(batch, tracker)
            for block in collector.finished():
                self._hand_out(block)
            batch = self._read()

    def _follow(self, tracker: ClockTracker, batch: TagBatch) -> tuple[ClockSegment, ...]:
        """The clock over a batch. Where it is lost for want of light, the want of light is the fault to name."""
        try:
            return tracker.feed(batch.time_ps, batch.channel, batch.complete_until_ps)
        except SynchronisationLost as error:
            if len(batch) > 1:
                lapse_s = float(batch.time_ps[-1] - batch.time_ps[0]) * 1e-12
                clicks = np.bincount(batch.channel, minlength=256)[list(self._calibration.channels)]
                rates = tuple(float(n) / max(lapse_s, 1e-9) for n in clicks)
                fault = rate_fault(rates, self._plan.expected_click_rate_hz, self._plan.max_detector_rate_hz)
                if fault is not None:
                    raise _Dark(*fault) from error
            raise

    def _hand_out(self, block: Detections) -> None:
        self._free_blocks.acquire()
        if self._stop.is_set():
            raise _Stopped
        self._notify(BlockAcquired(block))

    def _count(self, batch: TagBatch, tracker: ClockTracker) -> None:
        """Add up clicks; report, and end the session when the rate is not what it should be."""
        self._clicks += np.bincount(batch.channel, minlength=256)
        now_s = time.monotonic()
        lapse_s = (batch.complete_until_ps - self._report_from_ps) * 1e-12
        if now_s - self._last_report_s < REPORT_INTERVAL_S or lapse_s < 1e-4:
            return
        rates = tuple(float(self._clicks[channel]) / lapse_s for channel in self._calibration.channels)
        ratio = sum(rates) / self._plan.expected_click_rate_hz
        drift_ppm = (tracker.state.period_ps / self._plan.slot_period_ps - 1) * 1e6
        piece = slice(self._segment.start, self._segment.stop)
        arrivals = arrival_histogram(batch.time_ps[piece], batch.channel[piece], self._segment)
        self._notify(RateReport(rates, ratio, drift_ppm, tracker.state.fraction_ps, batch.complete_until_ps, arrivals))
        self._clicks[:] = 0
        self._report_from_ps, self._last_report_s = batch.complete_until_ps, now_s
        fault = rate_fault(rates, self._plan.expected_click_rate_hz, self._plan.max_detector_rate_hz)
        if fault is not None and self._was_low:
            raise _Dark(*fault)
        self._was_low = fault is not None  # half of this interval may have been good: the next one names the cause

    def _read(self) -> TagBatch:
        """The next batch; an explicit loss ends the session, silence is tolerated until the tagger's own limit."""
        for _ in range(10):
            if self._stop.is_set():
                raise _Stopped
            try:
                batch = self._tagger.read(READ_TIMEOUT_S)
            except InstrumentTimeout:
                continue
            for anomaly in batch.anomalies:
                if anomaly.kind in (AnomalyKind.OVERFLOW, AnomalyKind.LOST, AnomalyKind.MISSED, AnomalyKind.BACKWARD):
                    raise TagsLost(f"{anomaly.kind} of {anomaly.count} at {anomaly.time_ps} ps {anomaly.note}")
            return batch
        raise _Dark("no-light", f"the tagger delivered nothing for {10 * READ_TIMEOUT_S:g} s")


class _Dark(Exception):
    """The light is not as it should be."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


def _joined(batches: list[TagBatch]) -> TagBatch:
    if len(batches) == 1:
        return batches[0]
    return TagBatch(
        np.concatenate([batch.time_ps for batch in batches]),
        np.concatenate([batch.channel for batch in batches]),
        np.concatenate([batch.flags for batch in batches]),
        batches[-1].complete_until_ps,
    )


def capture(tagger: TimeTagger, channels: tuple[int, ...], tags: int, timeout_s: float) -> TagBatch:
    """A fresh stretch of tags for a calibration: start, read until `tags` have come, stop.

    Raises InstrumentTimeout when fewer come within `timeout_s` of wall time, and what the tagger raises.
    """
    give_up_s = time.monotonic() + timeout_s
    batches: list[TagBatch] = []
    count = 0
    tagger.start(channels)
    try:
        while count < tags:
            if time.monotonic() > give_up_s:
                raise InstrumentTimeout(
                    f"{count} of {tags} tags within {timeout_s:g} s", instrument=tagger.name, remedy="check the light"
                )
            try:
                batch = tagger.read(READ_TIMEOUT_S)
            except InstrumentTimeout:
                continue
            batches.append(batch)
            count += len(batch)
    finally:
        tagger.stop()
    return _joined(batches)
