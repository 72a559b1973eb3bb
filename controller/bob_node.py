"""Bob: owns the detectors. He follows Alice's lead: measures, acquires, takes part in rounds, names what he sees."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from pathlib import Path

import numpy as np

from controller import peer_messages
from controller.acquisition import (
    Acquisition,
    AcquisitionEnded,
    AcquisitionEvent,
    BlockAcquired,
    RateReport,
    SessionPlan,
    Synchronised,
)
from controller.arrivals import BINS
from controller.block_record import BlockRecord
from controller.calibration.receiver import (
    GATES,
    POLARIZATION,
    ReceiverRoutines,
    polarization_voltages,
    receiver_calibration,
)
from controller.calibration.result import CalibrationResult
from controller.config import NodeConfig, ReceiverBench
from controller.errors import ConfigurationError, InstrumentFailure, PeerFailure, SecurityFailure
from controller.link_plan import expected_click_rate_hz
from controller.node import Node, RunOptions
from controller.node_parts import REFUTED_BY_LIGHT
from controller.peer import PeerLink
from controller.peer_messages import (
    FIRST_STEPS,
    BlockReady,
    CalibrationDone,
    CalibrationStep,
    ControlMessage,
    LinkFault,
    Observation,
    Prelude,
    SessionStart,
    SyncResult,
    SyncString,
    TaggerReady,
    Telemetry,
)
from controller.rounds import RoundRunner, burn_round_pads, require_progress
from controller.to_the_end import to_the_end
from controller.trust.pads import RefillLayout, RefillSizes
from drivers.errors import InstrumentError
from drivers.roles import DetectorBank, PolarizationController, TimeTagger
from postproc import messages
from postproc.errors import PostprocError, ProtocolViolation
from postproc.messages import RoundOpen
from postproc.records import Detections
from postproc.session.actions import BlockDetected
from postproc.session.bob import BobRound

BEAT_S = 1.0
SYNC_ERROR_FACTOR = 2.0  # of the limit of a block: the sync string is short
LASER_LIMITS = (0.9, 1.1)
POLARIZATION_RATIO = 0.97  # rate relative to that of the last good block


class BobNode(Node):
    """The receiver's node."""

    _acquisition: Acquisition | None = None
    _session: SessionStart | None = None
    _rate_ratio = 0.0
    _good_rate_ratio = 0.0
    _laser_ratio = 1.0

    def __init__(self, config: NodeConfig, config_text: str, workspace: Path, options: RunOptions) -> None:
        super().__init__(config, config_text, workspace, options)
        self._blocks: deque[Detections] = deque()

    def _bench(self) -> ReceiverBench:
        if self.config.bench.receiver is None:
            raise ConfigurationError("role 'bob' needs a table [bench.receiver]")
        return self.config.bench.receiver

    # ---- the role: loops side by side

    async def _role(self, link: PeerLink) -> None:
        self._blocks.clear()
        self._events: asyncio.Queue[tuple[str, AcquisitionEvent]] = asyncio.Queue()
        await self._prepare_receiver()
        self.set_state("Following Alice")
        roles = (self._obey, self._watch_acquisition, self._take_rounds, self._until_stopped_between_rounds)
        loops = {asyncio.ensure_future(loop(link)) for loop in roles}
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _prepare_receiver(self) -> None:
        """Detectors biased and on, tagger inputs set."""
        bench = self._bench()
        self.set_state("Preparing the receiver")

        def prepare() -> None:
            detectors, tagger = self.station.find(DetectorBank), self.station.find(TimeTagger)
            count = detectors.channels
            detectors.set_bias_currents_a((*bench.detector_bias_a, *(0.0,) * count)[:count])
            detectors.set_trigger_levels_v(
                (*bench.detector_trigger_v, *(bench.detector_trigger_v[-1],) * count)[:count]
            )
            detectors.set_enabled(True)
            tagger.stop()
            for channel, threshold_v in zip(bench.channels, bench.input_threshold_v, strict=False):
                tagger.configure_input(channel, threshold_v)

        with self.station.step("preparing the receiver"):
            await to_the_end(prepare)

    async def _leave(self, link: PeerLink) -> None:
        await self._end_session()

    async def _end_session(self) -> None:
        if self._acquisition is not None:
            await to_the_end(self._acquisition.stop)
        self._acquisition, self._session = None, None
        self._blocks.clear()

    async def _obey(self, link: PeerLink) -> None:
        """What Alice asks for between the rounds."""
        while True:
            message = await self.controls.get()
            match message:
                case CalibrationStep():
                    await self._end_session()
                    if message.step in FIRST_STEPS:
                        self.prelude = Prelude()
                    self.prelude.add(0, peer_messages.encode(message))
                    self.set_state("Calibrating", message.step)
                    done = await self._measure(message.step)
                    self.prelude.add(1, await link.send(done))
                case SessionStart():
                    self.prelude.add(0, peer_messages.encode(message))
                    await self._start_session(link, message)
                case SyncString() if self._session and message.session_id == self._session.session_id:
                    self.prelude.add(0, peer_messages.encode(message))
                    if self._acquisition is not None:
                        self._acquisition.give_sync_string(np.frombuffer(message.symbols, np.uint8))
                case LinkFault():
                    self.set_state(f"Stopped: {message.text}")
                    await self._end_session()
                case _:
                    raise PeerFailure(f"{type(message).__name__} is not for a receiver")

    # ---- calibration

    async def _measure(self, step: str) -> CalibrationDone:
        """One step; a failure is an answer, in words, because it may pass (no light, drift)."""
        routines = {
            "restore": self._restore,
            "forget": self._forget,
            "polarization": self._polarization,
            "gates": self._gates,
            "phase": self._phase,
        }
        if step not in routines:
            return CalibrationDone(step, False, f"unknown step; known: {', '.join(routines)}", [])
        try:
            values = await to_the_end(routines[step])
        except (InstrumentError, PostprocError) as error:
            return CalibrationDone(step, False, str(error)[:2000], [])
        result = self.progress.calibrations.get(step)
        if result is not None and result.failures:
            return CalibrationDone(step, False, "; ".join(str(check) for check in result.failures)[:2000], [])
        return CalibrationDone(step, True, "", values)

    def _routines(self) -> ReceiverRoutines:
        serials = {name: self.station.instrument(name).identity.serial for name in self.station.names}
        return ReceiverRoutines(
            self.station.find(TimeTagger), self._bench(), self.config.calibration, self.parameters.slot_rate_hz, serials
        )

    def _restore(self) -> list[float]:
        """Take up results that are still valid."""
        self.progress.calibrations = {r.routine: r for r in self.calibrations.all() if r.is_valid(time.time())}
        return []

    def _forget(self) -> list[float]:
        """Measure everything anew, whatever its age."""
        self.progress.calibrations = {}
        return []

    def _polarization(self) -> list[float]:
        controller = self.station.find(PolarizationController)
        old = self.progress.calibrations.get(POLARIZATION)
        if old is not None:
            controller.set_voltages_v(polarization_voltages(old))
            return []
        signal = self.parameters.mean_photon_numbers[0]
        expected_hz = expected_click_rate_hz(self.config, self.parameters, signal)
        self._keep(self._routines().align_polarization(controller, expected_hz))
        return []

    def _gates(self) -> list[float]:
        if GATES not in self.progress.calibrations:
            self._keep(self._routines().find_gates())
        return []

    def _phase(self) -> list[float]:
        return [float(count) for count in self._routines().count_outputs()]

    def _keep(self, result: CalibrationResult) -> None:
        self.keep_calibration(result)

    # ---- acquisition

    async def _start_session(self, link: PeerLink, start: SessionStart) -> None:
        await self._end_session()
        gates = self.progress.calibrations.get(GATES)
        if gates is None or not gates.is_valid(time.time()):
            await self._tell_fault(link, "calibration-expired", "the gate scan is missing or too old")
            return
        self.set_state("Synchronising")
        parameters = self.parameters
        plan = SessionPlan(
            session_id=start.session_id,
            slot_period_ps=1e12 / parameters.slot_rate_hz,
            sync_slots=parameters.sync_string_slots,
            first_block_slot=start.first_block_slot,
            block_slots=start.block_slots,
            common_dead_time_ps=parameters.common_dead_time_ps,
            expected_click_rate_hz=expected_click_rate_hz(self.config, parameters),
            max_detector_rate_hz=self.config.limits.max_count_rate_hz,
            max_sync_error_ratio=SYNC_ERROR_FACTOR * parameters.qber_z_limit,
            onset_timeout_s=self.config.limits.tag_silence_s,
        )
        if start.block_slots != parameters.block_slots or start.first_block_slot < parameters.sync_string_slots:
            raise PeerFailure(
                f"blocks of {start.block_slots} slots from {start.first_block_slot} on, where "
                f"{parameters.block_slots} were agreed, behind the {parameters.sync_string_slots} disclosed ones"
            )
        loop, events = asyncio.get_running_loop(), self._events

        def notify(event: AcquisitionEvent) -> None:
            loop.call_soon_threadsafe(events.put_nowait, (start.session_id, event))

        self._acquisition = Acquisition(self.station.find(TimeTagger), receiver_calibration(gates), plan, notify)
        self._session = start
        with self.station.step("starting the tagger"):
            await to_the_end(self._acquisition.start)
        self.prelude.add(1, await link.send(TaggerReady(start.session_id)))

    async def _watch_acquisition(self, link: PeerLink) -> None:
        """Tell Alice what the acquisition's thread finds."""
        while True:
            session_id, event = await self._events.get()
            session = self._session
            if session is None or session.session_id != session_id:
                continue  # of a session that is over
            match event:
                case Synchronised():
                    detail = f"z {event.z_score:.1f}, confirmed with z {event.confirm_z:.1f}, QBER {event.qber:.4f}"
                    self.prelude.add(1, await link.send(SyncResult(session.session_id, True, detail)))
                    self.clear_alarms(*REFUTED_BY_LIGHT)
                    self.clear_alarms("calibration-expired")
                    self.set_state("Distilling")
                    self.progress.clock_drift_ppm = (event.period_ps * self.parameters.slot_rate_hz * 1e-12 - 1) * 1e6
                case BlockAcquired() if expired := self.expired_calibrations():
                    await self._tell_fault(link, "calibration-expired", f"too old: {expired}")
                case BlockAcquired(detections):
                    self._blocks.append(detections)
                    await link.send(BlockReady(session.session_id, detections.first_slot, detections.slot.size))
                case RateReport():
                    self._rate_ratio = event.ratio
                    self.progress.detector_rates_hz = event.rates_hz
                    self.progress.sync_phase_ps, self.progress.clock_drift_ppm = event.residual_ps, event.drift_ppm
                    self.recorder.rates(event.rates_hz, link_s=event.time_ps * 1e-12)
                    self.recorder.histogram(event.arrivals, bin_ps=1e12 / self.parameters.slot_rate_hz / BINS)
                case AcquisitionEnded(code, text):
                    self._rate_ratio = 0.0 if code == "no-light" else self._rate_ratio
                    if code:
                        await self._tell_fault(link, *self._name_cause(code, text))
                    if code == "instrument-failed":
                        raise InstrumentFailure(text, failures=(text,))

    def _name_cause(self, code: str, text: str) -> tuple[str, str]:
        """What is behind a low count rate: Alice's own power says whether the laser or the channel is to blame."""
        low, high = LASER_LIMITS
        if code in ("no-light", "low-counts") and not low <= self._laser_ratio <= high:
            return "laser-faded", f"{text}; Alice's power is {self._laser_ratio:.2f} of its calibration"
        if code == "no-light":
            return code, f"{text}; Alice's power is as calibrated: fibre cut, or everything behind it dark"
        if code == "low-counts":
            return (
                "polarization",
                f"{text}; Alice's power is as calibrated: polarization or loss of the channel changed",
            )
        return code, text

    async def _tell_fault(self, link: PeerLink, code: str, text: str) -> None:
        self.raise_alarm(code, text)
        self.set_state(f"Stopped: {text}")
        await link.send(LinkFault(code, text[:2000]))

    # ---- rounds

    async def _take_rounds(self, link: PeerLink) -> None:
        """Open what Alice opens; whatever else comes belongs to a round that was given up."""
        while True:
            number, payload = await link.rounds.get()
            opened = _opened(payload)
            if opened is None or opened.round != number:
                continue
            async with self.in_round:
                await self._round(link, payload, opened)

    async def _until_stopped_between_rounds(self, link: PeerLink) -> None:
        """Ends when the stop was asked for and no round is under way."""
        await self._stop.wait()
        async with self.in_round:
            return

    async def _round(self, link: PeerLink, payload: bytes, opened: RoundOpen) -> None:
        require_progress(self, opened)
        block, refill = self._admit(opened)
        pads = await to_the_end(burn_round_pads, self, opened.pads_a_to_b, opened.pads_b_to_a)
        await to_the_end(self.store.open_round, opened.epoch, opened.round)
        protocol_round = BobRound(payload, opened, self.parameters)
        runner = RoundRunner(self, link, protocol_round, pads, refill)
        outcome = await runner.run((), events=(BlockDetected(block),))
        if outcome.has_key:
            self._good_rate_ratio = self._rate_ratio
            return
        await to_the_end(self.store.drop, opened.round)
        self._name_disturbance(outcome.record)

    def _name_disturbance(self, record: BlockRecord) -> None:
        """Errors in the test basis together with lost counts, the laser being as calibrated, point at the
        polarization.
        """
        low, high = LASER_LIMITS
        has_lost = self._rate_ratio < POLARIZATION_RATIO * self._good_rate_ratio
        if "QBER X" in record.reason and has_lost and low <= self._laser_ratio <= high:
            self.raise_alarm(
                "polarization",
                f"{record.reason} and the count rate fell to {self._rate_ratio / self._good_rate_ratio:.2f} of the "
                "last good block's, with Alice's power as calibrated",
            )

    def _admit(self, opened: RoundOpen) -> tuple[Detections, RefillLayout]:
        """The block that the round is about. Raises SecurityFailure when Alice's plan is not what was fixed before
        the block.
        """
        session = self._session
        if session is None or not self._blocks:
            raise PeerFailure(f"round {opened.round} was opened, no block waits for it")
        fixed = (
            (opened.session_id, session.session_id),
            (opened.secret_length_bits, session.secret_length_bits),
            (opened.leakage_budget_bits, session.leakage_budget_bits),
            (opened.min_single_photon_key, session.min_single_photon_key),
            (opened.max_phase_error, session.max_phase_error),
            (opened.prelude_sha256, self.prelude.digest()),
        )
        for said, agreed in fixed:
            if said != agreed:
                raise SecurityFailure(f"round {opened.round}: {said!r} where {agreed!r} was fixed before the block")
        refill = RefillLayout.decode(opened.refill)
        if self.store.refill_layout(_sizes(refill)) != refill or 16 * refill.total_bytes > opened.secret_length_bits:
            raise SecurityFailure(
                f"round {opened.round}: the refill of the pools does not continue them, or takes half the key"
            )
        block = self._blocks.popleft()
        if self._acquisition is not None:
            self._acquisition.release_block()
        return block, refill

    # ---- signs of life

    async def _beat(self, link: PeerLink) -> None:
        while True:
            await link.send(Observation(rate_ratio=self._rate_ratio))
            await asyncio.sleep(BEAT_S)

    def _take_telemetry(self, message: ControlMessage) -> bool:
        if isinstance(message, Telemetry):
            self._laser_ratio = message.power_ratio if message.is_emitting else 0.0
            return True
        return False


def _opened(payload: bytes) -> RoundOpen | None:
    try:
        message = messages.decode(payload)
    except ProtocolViolation:
        return None
    return message if isinstance(message, RoundOpen) else None


def _sizes(layout: RefillLayout) -> RefillSizes:
    """Bytes per region, from the entries of one direction."""
    taken = {entry.region: entry.n_bytes for entry in layout.entries}
    return RefillSizes(taken.get("round", 0), taken.get("resync", 0), taken.get("notice", 0))
