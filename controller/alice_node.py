"""Alice: owns the light. She leads the link: calibrations, sessions, rounds."""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller import peer_messages
from controller.calibration import interferometer_phase, mean_photon_number
from controller.calibration.mean_photon_number import MeanPhotonNumber, Source, photons_per_slot
from controller.calibration.result import CalibrationFailed, CalibrationResult
from controller.config import SourceBench
from controller.errors import ConfigurationError, PeerFailure, SecurityFailure, Starved
from controller.link_plan import LinkPlan, plan_link
from controller.node import Node
from controller.node_parts import REFUTED_BY_LIGHT, LinkStopped
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
from controller.rounds import RoundRunner, alarm_of, burn_round_pads
from controller.to_the_end import to_the_end
from controller.trust.pads import RefillLayout, RefillSizes
from drivers.errors import InstrumentError
from drivers.roles import Laser, ModulatorBias, PowerMeter, SymbolTransmitter, VariableAttenuator
from postproc.messages import RoundOpen
from postproc.session.alice import AliceRound
from postproc.timing.delay_scan import DELAY_PATTERN

BEAT_S = 1.0
STEP_TIMEOUT_S = 60.0
SYNC_TIMEOUT_S = 60.0
BLOCK_TIMEOUT_S = 120.0
POWER_LIMITS = (0.9, 1.1)
BACK_OFF_S = (0.5, 1.0, 2.0, 4.0)  # after faults of the light, which cost nothing
ABORT_BACK_OFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # after aborted rounds, which burn pads
SYNC_MARGIN_SLOTS = 1 << 20
SEEDED_SOURCE = "SEED"
LOW_ROUNDS_FACTOR = 10  # of the limit at which the link stops
REALIGN_CODES = ("low-counts", "qber-x", "qber-z", "sync-lost")


class AliceNode(Node):
    """The transmitter's node."""

    _has_cleared = False
    _last_ratio = 1.0
    _block_due = 0

    def _bench(self) -> SourceBench:
        if self.config.bench.source is None:
            raise ConfigurationError("role 'alice' needs a table [bench.source]")
        return self.config.bench.source

    # ---- the role

    async def _role(self, link: PeerLink) -> None:
        self._failures = self._aborted_in_a_row = 0
        await self._prepare_light()
        needs_alignment = False
        while not self.is_stopping:
            try:
                await self._calibrate(link, is_forced=needs_alignment)
                needs_alignment = False
                await self._session(link)
            except LinkStopped as fault:
                self.raise_alarm(fault.code, str(fault))
                self.set_state(f"Stopped: {fault}")
                self.log.warning("link stopped", code=fault.code, detail=str(fault))
                await link.send(LinkFault(fault.code, str(fault)[:2000]))
                await self._darken()
                if fault.code == "laser-faded":  # it may have been switched off: by its interlock, or by hand
                    await self._prepare_light()
                needs_alignment = fault.code in REALIGN_CODES and self._failures > 0
                await self._rest(self._back_off_s())
                self._failures += 1

    def _back_off_s(self) -> float:
        """Longer and longer, so that somebody who makes blocks abort cannot drain the authentication pools quickly."""
        if self._aborted_in_a_row > 1:
            return ABORT_BACK_OFF_S[min(self._aborted_in_a_row, len(ABORT_BACK_OFF_S) - 1)]
        return BACK_OFF_S[min(self._failures, len(BACK_OFF_S) - 1)]

    async def _prepare_light(self) -> None:
        """Laser on, modulator locked, slots configured; the transmitter itself is still dark."""
        bench = self._bench()
        self.set_state("Preparing the light")

        def prepare() -> None:
            laser, transmitter = self.station.find(Laser), self.station.find(SymbolTransmitter)
            transmitter.make_safe()
            transmitter.clear_faults()
            require_random_source(transmitter.capabilities.random_sources, is_simulation=self.config.node.simulation)
            transmitter.configure_slots(self.parameters.slot_rate_hz)
            z = self.parameters.key_basis_probability
            transmitter.set_state_probabilities((z / 2, z / 2, (1 - z) / 2, (1 - z) / 2))
            transmitter.set_intensity_probabilities(self.parameters.intensity_probabilities)
            transmitter.set_phase_bias_v(bench.phase_bias_v)
            self._clear_what_was_looked_at(laser)
            laser.set_current_a(bench.laser_current_a)
            laser.set_emission(True)
            self.station.find(ModulatorBias).lock_bias()

        with self.station.step("preparing the light"):
            await to_the_end(prepare)

    def _clear_what_was_looked_at(self, laser: Laser) -> None:
        """A person has looked at what had tripped before the start; what trips later stays latched."""
        if self.options.is_acknowledged and not self._has_cleared:
            laser.clear_errors()
        self._has_cleared = True

    async def _leave(self, link: PeerLink) -> None:
        await self._darken()

    async def _darken(self) -> None:
        """Stop the session; the laser stays on for the next one."""
        transmitter = self.station.find(SymbolTransmitter)

        def stop() -> None:
            transmitter.stop_session()
            transmitter.end_session()
            transmitter.set_pattern_off()

        try:
            await to_the_end(stop)
        except InstrumentError as error:
            self.log.warning("the transmitter could not be brought to rest", detail=str(error))
            await to_the_end(transmitter.make_safe)
            await to_the_end(transmitter.clear_faults)

    # ---- calibration

    async def _calibrate(self, link: PeerLink, *, is_forced: bool) -> None:
        """Whatever is not valid any more, in the order of dependence. Results in force are applied again."""
        self.set_state("Calibrating")
        await self._calibrate_mean_photon_number()
        await self._begin(link, FIRST_STEPS[int(is_forced)])
        for step, pattern in (("polarization", np.zeros(1, np.uint8)), ("gates", DELAY_PATTERN)):
            done = await self._step(link, step, pattern)
            if not done.is_ok:
                raise LinkStopped("calibration-failed", f"{step}: {done.detail}")
        await self._calibrate_phase(link, is_forced=is_forced)
        self.clear_alarms("calibration-failed", "calibration-expired")

    async def _begin(self, link: PeerLink, step: str) -> None:
        """First step of a preparation. Whatever Bob said before he answers it belongs to an earlier one and is void."""
        self.prelude = Prelude()
        self.prelude.add(0, await link.send(CalibrationStep(step)))
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                while True:
                    message = await self.controls.get()
                    if isinstance(message, CalibrationDone) and message.step == step:
                        self.prelude.add(1, peer_messages.encode(message))
                        return
        except TimeoutError as error:
            raise PeerFailure(f"the peer did not answer {step!r} within {STEP_TIMEOUT_S:g} s") from error

    async def _calibrate_mean_photon_number(self) -> None:
        source = Source(
            self.station.find(SymbolTransmitter), self.station.find(VariableAttenuator), self.station.find(PowerMeter)
        )
        routine = MeanPhotonNumber(source, self._bench(), self.config.link, self.config.calibration, self._serials())
        result = self.calibrations.latest(mean_photon_number.ROUTINE)
        with self.station.step("mean photon number"):
            if result is not None and result.is_valid(time.time()):
                await to_the_end(routine.apply, result)
                self._require_ratio(await to_the_end(routine.power_ratio, result))
            else:
                self.progress.stage = "mean photon number"
                try:
                    result = await to_the_end(routine.run)
                except CalibrationFailed as error:
                    raise LinkStopped("calibration-failed", str(error)) from error
                self.keep_calibration(result)
        self.progress.calibrations[result.routine] = result
        values = result.values
        self.progress.mean_photon_numbers = (values["mean_photon_number_signal"], values["mean_photon_number_decoy"])
        self._require(result)

    async def _calibrate_phase(self, link: PeerLink, *, is_forced: bool) -> None:
        """Sweep the interferometer's actuator against Bob's counts of a known test-basis state."""
        result = self.calibrations.latest(interferometer_phase.ROUTINE)
        transmitter = self.station.find(SymbolTransmitter)
        if result is None or is_forced or not result.is_valid(time.time()):
            self.progress.stage = "interferometer phase"
            sweep = interferometer_phase.PhaseSweep(self.config.calibration)
            for voltage_v in sweep.voltages_v:
                await to_the_end(transmitter.set_phase_bias_v, voltage_v)
                done = await self._step(link, "phase", interferometer_phase.PATTERN)
                if not done.is_ok or len(done.values) != 2:
                    raise LinkStopped("calibration-failed", f"interferometer phase: {done.detail}")
                sweep.add(voltage_v, done.values[0], done.values[1])
            result = sweep.result(self._serials())
            self.keep_calibration(result)
        self.progress.calibrations[result.routine] = result
        self._require(result)
        await to_the_end(transmitter.set_phase_bias_v, result.values["phase_bias_v"])

    async def _step(self, link: PeerLink, step: str, pattern: NDArray[np.uint8]) -> CalibrationDone:
        """Light on with this pattern, let Bob measure, light off."""
        transmitter = self.station.find(SymbolTransmitter)
        self.progress.stage = step
        await to_the_end(transmitter.set_pattern, pattern)
        try:
            self.prelude.add(0, await link.send(CalibrationStep(step)))
            done: CalibrationDone = await self._hear(CalibrationDone, STEP_TIMEOUT_S)
        finally:
            await to_the_end(transmitter.set_pattern_off)
        return done

    def _serials(self) -> dict[str, str]:
        return {name: self.station.instrument(name).identity.serial for name in self.station.names}

    def _require(self, result: CalibrationResult) -> None:
        if result.failures:
            raise LinkStopped("calibration-failed", "; ".join(str(check) for check in result.failures))

    async def _hear(self, kind: type[Any], timeout_s: float) -> Any:
        """A message of Bob that belongs to the prelude."""
        message = await self.expect(kind, timeout_s)
        self.prelude.add(1, peer_messages.encode(message))
        return message

    # ---- a session

    async def _session(self, link: PeerLink) -> None:
        """Arm, synchronise, then rounds until something stops the link."""
        self.set_state("Synchronising")
        plan = plan_link(self.config, self.parameters)
        session_id = secrets.token_hex(8)
        first_slot = self._block_due = self.parameters.sync_string_slots + SYNC_MARGIN_SLOTS
        start = SessionStart(
            session_id=session_id,
            first_block_slot=first_slot,
            block_slots=self.parameters.block_slots,
            secret_length_bits=plan.block.secret_length_bits,
            leakage_budget_bits=plan.block.leakage_budget_bits,
            min_single_photon_key=plan.block.min_single_photon_key,
            max_phase_error=plan.block.max_phase_error,
        )
        self.prelude.add(0, await link.send(start))
        await self._hear(TaggerReady, STEP_TIMEOUT_S)
        transmitter = self.station.find(SymbolTransmitter)
        with self.station.step("arming the transmitter"):
            await to_the_end(transmitter.arm_session, session_id)
        string = await self._sync_string(transmitter)
        self.prelude.add(0, await link.send(SyncString(session_id, string.tobytes())))
        found: SyncResult = await self._hear(SyncResult, SYNC_TIMEOUT_S)
        if not found.is_ok:
            raise LinkStopped("sync-lost", found.detail)
        self.clear_alarms(*REFUTED_BY_LIGHT)
        self.set_state("Distilling")
        self._expected_qber_z = plan.first_expected_qber_z
        while not self.is_stopping and not self._has_reached_target():
            async with self.in_round:
                await self._round(link, plan, session_id)
        if self._has_reached_target():
            self.set_state("Target reached")
            await self._stop.wait()

    async def _sync_string(self, transmitter: SymbolTransmitter) -> NDArray[np.uint8]:
        """All symbols of the first slots, read once they have been sent."""
        slots = self.parameters.sync_string_slots
        give_up_s = time.monotonic() + SYNC_TIMEOUT_S
        while (await to_the_end(transmitter.session_status)).slot_now <= slots:
            if time.monotonic() > give_up_s:
                raise LinkStopped(
                    "sync-lost", f"the transmitter did not reach slot {slots} within {SYNC_TIMEOUT_S:g} s"
                )
            await asyncio.sleep(0.01)
        return await to_the_end(transmitter.look_up, np.arange(slots, dtype=np.uint64))

    def _has_reached_target(self) -> bool:
        target = self.options.target_secret_bits
        return 0 < target <= self.progress.secret_bits

    async def _round(self, link: PeerLink, plan: LinkPlan, session_id: str) -> None:
        """Wait for a block, run its round; an abort that repeats stops the link before it drains the pools."""
        self.progress.waiting_for = "peer"
        block: BlockReady = await self.expect(BlockReady, BLOCK_TIMEOUT_S)
        self.progress.waiting_for = ""
        if block.session_id != session_id:
            return
        self._require_due(block)
        transmitter = self.station.find(SymbolTransmitter)
        if expired := self.expired_calibrations():
            raise LinkStopped("calibration-expired", f"too old: {expired}")
        self._require_ratio(await to_the_end(self._power_ratio, self.station.find(PowerMeter)))
        self._require_pads()
        await to_the_end(self._require_room)
        pads = await to_the_end(burn_round_pads, self)
        number = self.store.last_round() + 1
        await to_the_end(self.store.open_round, self.store.epoch, number)
        refill = await to_the_end(self._refill, plan)
        opened = RoundOpen(
            epoch=self.store.epoch,
            round=number,
            session_id=session_id,
            first_slot=block.first_slot,
            slots=self.parameters.block_slots,
            pads_a_to_b=pads.a_to_b_offset,
            pads_b_to_a=pads.b_to_a_offset,
            secret_length_bits=plan.block.secret_length_bits,
            leakage_budget_bits=plan.block.leakage_budget_bits,
            min_single_photon_key=plan.block.min_single_photon_key,
            max_phase_error=plan.block.max_phase_error,
            expected_qber_z=self._expected_qber_z,
            refill=refill.encode(),
            prelude_sha256=self.prelude.digest(),
        )
        protocol_round = AliceRound(opened, self.parameters, secrets.token_bytes)
        runner = RoundRunner(self, link, protocol_round, pads, refill)
        look_up = partial(_look_up, transmitter)
        outcome = await runner.run(protocol_round.start(), look_up=look_up)
        await to_the_end(transmitter.discard_below, block.first_slot + self.parameters.block_slots)
        if outcome.has_key:
            self._failures = self._aborted_in_a_row = 0
            self._expected_qber_z = min(max(outcome.record.qber_z, 1e-4), 0.2)
            return
        await to_the_end(self.store.drop, number)
        self._aborted_in_a_row += 1
        raise LinkStopped(alarm_of(outcome.record.reason), outcome.record.reason)

    def _require_due(self, block: BlockReady) -> None:
        """Blocks are taken as they come, none left out and none twice (protocol §3.1): nobody chooses among them."""
        if block.first_slot != self._block_due:
            raise PeerFailure(f"a block from slot {block.first_slot} where the one from {self._block_due} was due")
        self._block_due += self.parameters.block_slots

    def _refill(self, plan: LinkPlan) -> RefillLayout:
        """What the pools need of the block; at most half of it, the rest waits for the next one."""
        needs = self.store.refill_needs(RefillSizes(*plan.pool_target_bytes))
        return self.store.refill_layout(needs.within(plan.block.secret_length_bits // 16))

    # ---- signs of life

    async def _beat(self, link: PeerLink) -> None:
        """Heartbeat of the transmitter, power at the tap, telemetry to Bob; a faded laser stops the link by name."""
        transmitter, laser = self.station.find(SymbolTransmitter), self.station.find(Laser)
        meter = self.station.find(PowerMeter)
        while True:
            is_distilling = self.progress.state == "Distilling"
            status = await to_the_end(transmitter.session_status)
            is_emitting = await to_the_end(laser.is_emitting)
            ratio = await to_the_end(self._power_ratio, meter) if status.state == "RUN" else None
            if ratio is not None:
                self._last_ratio = ratio if is_emitting else 0.0
            await link.send(Telemetry(power_ratio=min(max(self._last_ratio, 0.0), 1000.0), is_emitting=is_emitting))
            if (words := _power_fault(self._last_ratio)) and status.state == "RUN":
                await self.controls.put(LinkFault("laser-faded", words))
            if is_distilling and status.state != "RUN":
                words = f"the transmitter fell into state {status.state}: {', '.join(transmitter.faults())}"
                await self.controls.put(LinkFault("laser-faded", words))
            await asyncio.sleep(BEAT_S)

    def _require_ratio(self, ratio: float) -> None:
        """A reading taken after the block brackets it: a source that is not as calibrated makes no key."""
        self._last_ratio = ratio
        if words := _power_fault(ratio):
            raise LinkStopped("laser-faded", words)

    def _require_pads(self) -> None:
        """Stop while there is still enough to talk about it. Raises Starved."""
        left, limit = self.store.rounds_left(), self.config.limits.min_authentication_rounds
        if left < limit:
            self.raise_alarm("starved", f"{left} rounds of authentication key left, limit {limit}")
            raise Starved(
                f"{left} rounds of authentication key left, limit {limit}",
                remedy="bring a new pre-shared key to both nodes",
            )
        if left < LOW_ROUNDS_FACTOR * limit:
            self.raise_alarm("authentication-low", f"{left} rounds of authentication key left, {limit} is the end")
        else:
            self.clear_alarms("authentication-low")

    def _require_room(self) -> None:
        """A store that holds its capacity takes no more: the light waits until consumers have fetched keys."""
        stored, capacity = self.store.counts().bits_ready, self.config.limits.store_capacity_bits
        if stored >= capacity:
            raise LinkStopped("store-full", f"{stored} secret bits in store, capacity {capacity}")
        self.clear_alarms("store-full")

    def _power_ratio(self, meter: PowerMeter) -> float:
        """Mean photon number now, averaged over the classes, relative to the calibrated one."""
        now = photons_per_slot(meter.power_w(), self._bench(), self.parameters.slot_rate_hz)
        pairs = zip(self.parameters.intensity_probabilities, self.progress.mean_photon_numbers, strict=True)
        return now / sum(probability * mean for probability, mean in pairs)

    def _take_telemetry(self, message: ControlMessage) -> bool:
        return isinstance(message, Observation)


def require_random_source(sources: tuple[str, ...], *, is_simulation: bool) -> None:
    """Symbols that somebody can repeat make no key outside a rehearsal. Raises SecurityFailure."""
    if SEEDED_SOURCE in sources and not is_simulation:
        raise SecurityFailure(
            "the transmitter draws its symbols from a seeded generator",
            remedy="it is a rehearsal device: connect the real one, or set [node] simulation = true for a rehearsal",
        )


def _power_fault(ratio: float) -> str:
    """Words for a power at the tap that is not as calibrated, or ""."""
    low, high = POWER_LIMITS
    return (
        ""
        if low <= ratio <= high
        else f"power at the monitor tap is {ratio:.2f} of its calibration, limits [{low}, {high}]"
    )


def _look_up(transmitter: SymbolTransmitter, slots: NDArray[np.int64]) -> NDArray[np.uint8]:
    """In batches as large as the transmitter takes."""
    batch = transmitter.capabilities.max_batch
    pieces = [
        transmitter.look_up(slots[start : start + batch].astype(np.uint64)) for start in range(0, slots.size, batch)
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, np.uint8)
