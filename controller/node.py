"""What both nodes share: the life of a node from its configuration to a safe end.

    open store -> open station -> serve key delivery and the control socket -> (connect, resynchronise, role) again
    and again -> make safe

A node keeps running when its peer goes, when the light goes, and when a block aborts; it stops when it is told to,
when its own instruments or its disk fail, or when continuing would be insecure. In each of these cases the station is
made safe first.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.calibration.result import CalibrationResult, CalibrationStore, document
from controller.config import NodeConfig
from controller.control_socket import SOCKET_NAME, ControlServer
from controller.delivery import Delivery
from controller.errors import ConfigurationError, InstrumentFailure, PeerFailure, StorageFailure
from controller.keys.bootstrap import import_once
from controller.keys.envelope import load_kek
from controller.keys.store import NodeStore
from controller.logs import open_log
from controller.monitoring.alarms import CATALOGUE, AlarmBoard
from controller.monitoring.status import CalibrationState, NodeStatus
from controller.node_parts import LinkStopped, Progress, utc_now
from controller.peer import PeerLink, PeerListener, connect, tls_context
from controller.peer_messages import ControlMessage, Farewell, LinkFault, Notice, Prelude
from controller.recorder import RunRecorder
from controller.resync import resynchronise
from controller.self_tests import require_self_tests
from controller.station import Station
from controller.to_the_end import to_the_end
from controller.version import software_version, versions
from drivers.errors import InstrumentError
from postproc.records import LinkParameters

# After connections that made no key: each burns resynchronisation pads.
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
ABSENT_S = 0.5  # after a peer that did not answer at all
ABSENCE_ALARM_S = 10.0  # nodes are not started in the same instant
LAST_WORDS_S = 0.5
SLOW_CHECK_S = 2.0
SNAPSHOT_PATIENCE = 2  # a computer may be busy for a second or two; an instrument that is gone stays gone


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is asked for beside its configuration. `target_secret_bits` 0: until stopped."""

    target_secret_bits: int = 0
    run_file: Path | None = None
    is_acknowledged: bool = False  # a person has looked at a station that was latched broken


class Node(ABC):
    """One node. Use `await Node.run()`; `request_stop` may be called on the event loop at any time."""

    def __init__(self, config: NodeConfig, config_text: str, workspace: Path, options: RunOptions) -> None:
        self.config, self.workspace, self.options = config, workspace, options
        self.state_dir = config.state_dir(workspace)
        self.parameters: LinkParameters = config.link.parameters(software_version())
        self.log = open_log(self.state_dir, config.node.name)
        self.alarms = AlarmBoard()
        self.progress = Progress()
        self.calibrations = CalibrationStore(self.state_dir / "calibrations")
        self.pool: Executor = ThreadPoolExecutor(max_workers=3, thread_name_prefix="compute")
        self.prelude = Prelude()
        self.round_due = 0
        self._config_text = config_text
        self._stop = asyncio.Event()
        self.in_round = asyncio.Lock()
        self._stop_now = False
        self.controls: asyncio.Queue[ControlMessage] = asyncio.Queue()
        self.store: NodeStore
        self.station: Station
        self.recorder: RunRecorder
        self.delivery: Delivery

    # ---- for the control socket

    def status(self) -> NodeStatus:
        """The node at this moment."""
        p, store = self.progress, self.store
        elapsed_s = time.monotonic() - p.first_block_s if p.first_block_s is not None else 0.0
        counts = store.counts()
        return NodeStatus(
            node=self.config.node.name,
            role=self.config.node.role,
            time_utc=utc_now(),
            state=p.state,
            stage=p.stage,
            waiting_for=p.waiting_for,
            is_peer_connected=p.is_peer_connected,
            epoch=store.epoch,
            round=store.last_round(),
            blocks_made=p.blocks_made,
            blocks_aborted=p.blocks_aborted,
            last_abort_reason=p.last_abort_reason,
            detections_in_block=p.detections_in_block,
            sifted_bits=p.sifted_bits,
            secret_bits=p.secret_bits,
            target_secret_bits=self.options.target_secret_bits,
            secret_key_rate_bps=p.secret_bits / elapsed_s if elapsed_s > 0 else None,
            secret_key_rate_link_bps=p.secret_bits / p.link_time_s if p.link_time_s > 0 else None,
            qber_z=p.qber_z,
            qber_x=p.qber_x,
            qber_z_limit=self.parameters.qber_z_limit,
            qber_x_limit=self.parameters.qber_x_limit,
            keys_in_store=counts.keys_ready,
            key_bits_in_store=counts.bits_ready,
            keys_delivered=counts.keys_delivered,
            detector_rates_hz=p.detector_rates_hz,
            mean_photon_numbers=p.mean_photon_numbers,
            sync_phase_ps=p.sync_phase_ps,
            clock_drift_ppm=p.clock_drift_ppm,
            auth_rounds_left=store.rounds_left(),
            auth_bits_left=store.bits_left(),
            auth_bits_consumed=store.consumed_bits(),
            link_time_s=p.link_time_s,
            station_broken=self.station.broken,
            alarms=self.alarms.states,
            calibrations=tuple(_calibration_state(result) for result in p.calibrations.values()),
        )

    def request_stop(self, *, now: bool) -> None:
        """End after the present step, or at once."""
        self._stop_now = self._stop_now or now
        self._stop.set()

    def acknowledge_alarm(self, alarm_id: str) -> bool:
        """Somebody has looked."""
        return self.alarms.acknowledge(alarm_id)

    @property
    def is_stopping(self) -> bool:
        """Whether the end was asked for."""
        return self._stop.is_set()

    # ---- life

    async def run(self) -> None:
        """Until stopped, or until the target is reached. Raises QkdError with the reason of any other end."""
        await asyncio.to_thread(require_self_tests)
        self.store = await asyncio.to_thread(self._open_store)
        self.store.report_burns(self._log_burn)
        with contextlib.closing(self.store):
            self.station = await asyncio.to_thread(Station.open, self.config, self.workspace)
            with self.station, self._open_recorder() as self.recorder:
                self.delivery = Delivery(self.store)
                self.recorder.snapshots(await asyncio.to_thread(self.station.snapshot), time_utc=utc_now())
                async with (
                    ControlServer(self.state_dir / SOCKET_NAME, self),
                    self.delivery.serve(self.config, self.workspace),
                ):
                    try:
                        await self._until_stopped(self._link_for_ever())
                    except (InstrumentError, InstrumentFailure) as error:
                        self._latch(str(error))
                        raise
            self.set_state("Stopped")

    def _log_burn(self, region: str, way: str, offset: int, n_bytes: int) -> None:
        """So that anyone can check that no pad was used twice: the log shows where each stood before it is used."""
        self.log.debug("pad burnt", region=region, direction=way, pad_offset=offset, n_bytes=n_bytes)

    def set_state(self, state: str, stage: str = "") -> None:
        """Change the state in words, and say so in the log when it is new."""
        if state != self.progress.state:
            self.log.info("state", state=state)
        self.progress.state, self.progress.stage = state, stage

    def raise_alarm(self, code: str, text: str) -> None:
        """Raise an alarm of the catalogue, log it and record it."""
        if self.alarms.raise_alarm(code, text, utc_now()):
            self.log.warning("alarm", code=code, detail=text)
            self.recorder.event({"event": "alarm", "time_utc": utc_now(), "code": code, "text": text})

    def clear_alarms(self, *codes: str) -> None:
        """The causes are gone."""
        for code in codes:
            if self.alarms.clear(code, utc_now()):
                self.log.info("alarm cleared", code=code)

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or the stop was asked for; a stop lets the present round end unless it is
        immediate.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        guards = [asyncio.ensure_future(guard()) for guard in (self._guard_disk, self._guard_instruments)]
        try:
            await asyncio.wait({task, stop, *guards}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done() and not self._stop_now and not any(job.done() for job in (task, *guards)):
                self.set_state("Stopping")
                await asyncio.wait({task}, timeout=15.0)
            for done in (task, *guards):
                if done.done() and not done.cancelled():
                    done.result()
        finally:
            for pending in (task, stop, *guards):
                pending.cancel()
            await asyncio.gather(task, stop, *guards, return_exceptions=True)

    async def _guard_disk(self) -> None:
        """Ends with StorageFailure when the disk runs full, before anything fails half-written."""
        limit = self.config.limits.min_disk_free_bytes
        while True:
            free = shutil.disk_usage(self.state_dir).free
            if free < limit:
                self.raise_alarm("disk-full", f"{free} bytes free, limit {limit}")
                raise StorageFailure(f"{self.state_dir}: {free} bytes free, limit {limit}", remedy="free disk space")
            await asyncio.sleep(SLOW_CHECK_S)

    async def _guard_instruments(self) -> None:
        """Ends with InstrumentFailure when an instrument is lost, also one that nothing uses at present."""
        failures = 0
        while True:
            await asyncio.sleep(SLOW_CHECK_S)
            try:
                await to_the_end(self.station.snapshot)
                failures = 0
            except InstrumentFailure:
                failures += 1
                if failures == SNAPSHOT_PATIENCE:
                    raise

    def _latch(self, text: str) -> None:
        """An instrument failed: name it; somebody must look before the next start."""
        self.raise_alarm("instrument-failed", text)
        if not self.station.broken:
            self.station.latch_broken(text)

    async def _link_for_ever(self) -> None:
        """Connect, serve the link until it breaks, connect again."""
        fruitless, last_met_s = 0, time.monotonic()
        async with self._link_source() as next_link:
            while not self.is_stopping:
                made, has_met = self.progress.blocks_made, False
                try:
                    self.set_state("Waiting for the peer")
                    async with next_link() as link:
                        has_met = True
                        await self._serve(link)
                except PeerFailure as error:
                    last_met_s = time.monotonic() if has_met else last_met_s
                    if has_met or time.monotonic() - last_met_s > ABSENCE_ALARM_S:
                        self.raise_alarm("peer-lost", str(error))
                        self.set_state(f"Stopped: {error.message}")
                    fruitless = 0 if self.progress.blocks_made > made else fruitless + has_met
                    await self._rest(RETRY_S[min(fruitless, len(RETRY_S)) - 1] if fruitless and has_met else ABSENT_S)

    async def _serve(self, link: PeerLink) -> None:
        """One connection: pump, dispatch and role side by side; the first to end ends the others."""
        self.controls = asyncio.Queue()
        self.prelude = Prelude()
        pump = asyncio.ensure_future(link.pump())
        jobs = {pump}
        try:
            await self._first_of(pump, resynchronise(self, link))
            self.progress.is_peer_connected = True
            self.clear_alarms("peer-lost")
            self.delivery.attach(link)
            jobs |= {asyncio.ensure_future(job) for job in (self._dispatch(link), self._role(link), self._beat(link))}
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            await self._end_of_round()
            for job in done:
                job.result()
        finally:
            self.progress.is_peer_connected = False
            self.delivery.detach()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            if self.is_stopping:
                with contextlib.suppress(PeerFailure):  # the peer may be gone already
                    await link.send(Farewell("it was told to stop"))
            await self._leave(link)

    @staticmethod
    async def _first_of(pump: asyncio.Future[None], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({pump, task}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():  # what came before the end of the connection is still read: it may say why
                await asyncio.wait({task}, timeout=LAST_WORDS_S)
            (task if task.done() else pump).result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _end_of_round(self) -> None:
        """A round whose last message came just before the end of the connection still ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S), self.in_round:
                return

    async def _dispatch(self, link: PeerLink) -> None:
        """Sort control messages: notices and signs of life here, everything else to the role."""
        while True:
            message = await link.controls.get()
            match message:
                case Notice():
                    await self.delivery.receive(message)
                case Farewell():
                    raise PeerFailure(f"the peer stopped: {message.reason}")
                case LinkFault():
                    self._hear_fault(message)
                    await self.controls.put(message)
                case _ if not self._take_telemetry(message):
                    await self.controls.put(message)

    def _hear_fault(self, fault: LinkFault) -> None:
        """What the peer sees is named here at once, even if a round is still to end before it stops the link."""
        if fault.code not in CATALOGUE:
            raise PeerFailure(f"the peer names a fault {fault.code!r} that does not exist")
        self.raise_alarm(fault.code, fault.text)

    async def _rest(self, seconds: float) -> None:
        """Sleep, but wake up for a stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    @contextlib.asynccontextmanager
    async def _link_source(self) -> AsyncIterator[Any]:
        """A function that gives the next connection, by listening or by connecting as configured."""
        peer = self.config.peer
        context = tls_context(
            is_server=peer.listen is not None,
            certificate=self.workspace / peer.certificate,
            key=self.workspace / peer.private_key,
            peer_certificate=self.workspace / peer.peer_certificate,
        )
        host, _, port = (peer.listen or peer.connect or "").rpartition(":")
        if peer.connect is not None:
            yield lambda: connect(host, int(port), context, peer.timeout_s)
            return
        listener = PeerListener(host, int(port), context, peer.timeout_s)
        await listener.start()
        try:
            yield listener.next_link
        finally:
            await listener.close()

    def _open_recorder(self) -> RunRecorder:
        started = utc_now()
        run_id = f"{self.config.node.name}-{started.replace(':', '').replace('.', '-')}"
        return RunRecorder(
            self.options.run_file or self.state_dir / "runs" / f"{run_id}.h5",
            node=self.config.node.name,
            role=self.config.node.role,
            run_id=run_id,
            started_utc=started,
            config_text=self._config_text,
            versions=versions(),
        )

    def _open_store(self) -> NodeStore:
        """The store, from the pre-shared key file when that is still there: it is imported once and destroyed."""
        config, psk = self.config, self.workspace / self.config.trust.psk
        path = self.workspace / config.store.path
        kek = load_kek(self.workspace / config.store.kek)
        path.parent.mkdir(parents=True, exist_ok=True)
        if psk.exists():
            return import_once(psk, path, kek, link_id=self.parameters.link_id, node=config.node.role)
        store = NodeStore.open(path, kek)
        if (store.link_id, store.node) != (self.parameters.link_id, config.node.role):
            store.close()
            raise ConfigurationError(
                f"{path} is the store of {store.node} of {store.link_id}, this is {config.node.role} of "
                f"{self.parameters.link_id}",
                remedy="correct [store] path, [node] role or [link] link_id",
            )
        return store

    def expired_calibrations(self) -> str:
        """Names of the results in force that are too old by now, or ""."""
        now = time.time()
        return ", ".join(name for name, r in self.progress.calibrations.items() if not r.is_valid(now))

    def keep_calibration(self, result: CalibrationResult) -> None:
        """Save, record, show."""
        self.calibrations.save(result)
        self.recorder.calibration(document(result))
        self.progress.calibrations[result.routine] = result
        if result.failures:
            self.raise_alarm("calibration-failed", "; ".join(str(check) for check in result.failures))

    async def expect(self, kind: type[Any], timeout_s: float) -> Any:
        """The next control message, which must be of this kind. Raises LinkStopped for a LinkFault, PeerFailure for
        anything else.
        """
        try:
            message = await asyncio.wait_for(self.controls.get(), timeout_s)
        except TimeoutError as error:
            raise PeerFailure(f"the peer did not send {kind.__name__} within {timeout_s:g} s") from error
        if isinstance(message, LinkFault):
            raise LinkStopped(message.code, message.text)
        if not isinstance(message, kind):
            raise PeerFailure(f"{type(message).__name__} where {kind.__name__} was due")
        return message

    # ---- the roles

    @abstractmethod
    async def _role(self, link: PeerLink) -> None:
        """What Alice or Bob does on a connection. Ends only with an exception, or when the run is over."""

    @abstractmethod
    async def _beat(self, link: PeerLink) -> None:
        """Send a sign of life about once a second, for ever."""

    @abstractmethod
    def _take_telemetry(self, message: ControlMessage) -> bool:
        """Consume the peer's signs of life; False if the message is something else."""

    @abstractmethod
    async def _leave(self, link: PeerLink) -> None:
        """Bring the instruments to rest after a connection has ended."""


def _calibration_state(result: CalibrationResult) -> CalibrationState:
    told = document(result)
    return CalibrationState(
        routine=result.routine,
        id=told["id"],
        verdict=told["verdict"],
        summary=told["summary"],
        age_s=result.age_s(time.time()),
        validity_s=result.validity_s,
    )
