"""Carries out what a round asks for: sends, tags, look-ups, computations, durable steps. One object per round."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from controller.errors import PeerFailure
from controller.peer import PeerLink
from controller.to_the_end import to_the_end_in
from controller.trust import transcript, wegman_carter
from controller.trust.transcript import Direction, Sender, TranscriptEntry, TranscriptHeader, transcript_parts
from postproc import messages
from postproc.errors import PostprocError
from postproc.messages import RoundOpen, Tag
from postproc.records import BitArray
from postproc.session import actions as act
from postproc.session.actions import Action, Event, TagKind
from postproc.session.round import Round

SymbolSource = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
ROUND_TIMEOUT_S = 120.0
PAD_BYTES = wegman_carter.PAD_BYTES
PADS_A_TO_B = (TagKind.ALICE,)
PADS_B_TO_A = (TagKind.EARLY, TagKind.BOB, TagKind.ACKNOWLEDGE)


@dataclass(frozen=True, slots=True, repr=False)
class RoundPads:
    """The four pads of a round, burnt together before its first message. A pad belongs to one kind of tag, for ever."""

    a_to_b_offset: int
    b_to_a_offset: int
    pads: dict[TagKind, bytes]

    @classmethod
    def cut(cls, a_to_b_offset: int, a_to_b: bytes, b_to_a_offset: int, b_to_a: bytes) -> RoundPads:
        """Assign the bytes of both directions to the kinds of tags, in the order of PADS_A_TO_B and PADS_B_TO_A."""
        pads = {}
        for kinds, data in ((PADS_A_TO_B, a_to_b), (PADS_B_TO_A, b_to_a)):
            for index, kind in enumerate(kinds):
                pads[kind] = bytes(data[index * PAD_BYTES : (index + 1) * PAD_BYTES])
        return cls(a_to_b_offset, b_to_a_offset, pads)

    def offset(self, kind: TagKind) -> int:
        """Absolute offset of a kind's pad in the pool of its direction, bytes."""
        if kind in PADS_A_TO_B:
            return self.a_to_b_offset + PADS_A_TO_B.index(kind) * PAD_BYTES
        return self.b_to_a_offset + PADS_B_TO_A.index(kind) * PAD_BYTES


@dataclass(frozen=True, slots=True)
class RoundContext:
    """What the tags of a round are bound to beside its messages."""

    link_id: str
    epoch: int
    round: int
    identity_a: str
    identity_b: str
    parameters: bytes
    version: str

    def header(self, kind: TagKind, pad_offset: int) -> TranscriptHeader:
        """The transcript's header for one tag."""
        return TranscriptHeader(
            suite=transcript.SUITE_POLY1305_ONE_TIME,
            link_id=self.link_id,
            epoch=self.epoch,
            round=self.round,
            direction=Direction.A_TO_B if kind in PADS_A_TO_B else Direction.B_TO_A,
            kind=kind.value,
            identity_a=self.identity_a,
            identity_b=self.identity_b,
            pad_offset=pad_offset,
            parameters=self.parameters,
            version=self.version,
        )


@dataclass(frozen=True, slots=True)
class DurableSteps:
    """The three steps that must be on the disk before the round goes on."""

    store_pending: Callable[[BitArray], None]
    decide: Callable[[], None]
    make_ready: Callable[[], None]


class RoundShell:
    """Runs one round to its end. Exceptions: PeerFailure (connection, silence), StorageFailure, InstrumentError from
    look-ups.
    """

    def __init__(
        self,
        protocol_round: Round,
        link: PeerLink,
        pads: RoundPads,
        context: RoundContext,
        steps: DurableSteps,
        executor: Executor,
        look_up: SymbolSource | None,
        report: Callable[[str], None],
    ) -> None:
        self._round, self._link, self._pads, self._context = protocol_round, link, pads, context
        self._steps, self._executor, self._look_up, self._report = steps, executor, look_up, report
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._look_up_order = asyncio.Lock()
        self._finish: act.Finish | None = None
        self.stage_seconds: dict[str, float] = defaultdict(float)
        self.transcript_bytes = 0

    @property
    def number(self) -> int:
        """The round's number."""
        opened: RoundOpen = self._round.opened
        return opened.round

    async def run(self, first: Sequence[Action], events: Sequence[Event] = ()) -> act.Finish:
        """From the first actions to Finish."""
        for event in events:
            self._events.put_nowait(event)
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                await self._perform(first)
                while self._finish is None:
                    await self._step()
        except TimeoutError as error:
            raise PeerFailure(
                f"round {self.number} took longer than {ROUND_TIMEOUT_S:g} s ({self._round.state})"
            ) from error
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        return self._finish

    async def _step(self) -> None:
        """One event or one message, whichever comes first; then what the round makes of it."""
        get_event = asyncio.ensure_future(self._events.get())
        get_message = asyncio.ensure_future(self._link.rounds.get())
        waiting: set[asyncio.Future[object]] = {get_event, get_message, *self._tasks}  # type: ignore[arg-type]
        began = time.perf_counter()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            if isinstance(error := task.exception(), PostprocError):
                await self._react(partial(self._give_up, error))
            else:
                task.result()  # a failed look-up or store ends the round here
        self.stage_seconds["waiting"] += time.perf_counter() - began
        for get in (get_event, get_message):
            if not get.done():
                get.cancel()
        if get_event.done() and not get_event.cancelled() and self._finish is None:
            await self._react(lambda: self._round.handle(get_event.result()))
        if get_message.done() and not get_message.cancelled():
            number, payload = get_message.result()
            if number == self.number and self._finish is None:
                await self._react(lambda: self._round.receive(payload))

    @staticmethod
    def _give_up(error: PostprocError) -> list[Action]:
        """A computation refused what the peer had sent."""
        raise error

    async def _react(self, step: Callable[[], list[Action]]) -> None:
        """Let the round think; what the peer did wrong ends the round in words, not the node."""
        began = time.perf_counter()
        try:
            produced = step()
        except PostprocError as error:
            if self._round.is_binding:
                raise PeerFailure(f"round {self.number}: {error}") from error
            produced = self._round.abort(str(error))
        self.stage_seconds["session"] += time.perf_counter() - began
        self._report(str(self._round.state))
        await self._perform(produced)

    async def _perform(self, produced: Sequence[Action]) -> None:
        for action in produced:
            match action:
                case act.Send():
                    await self._timed("send", self._link.send_round(self.number, action.payload))
                case act.SignTag():
                    await self._timed("authenticate", self._sign(action))
                case act.CheckTag():
                    await self._timed("authenticate", self._check(action))
                case act.LookUp():
                    self._spawn(self._timed("look up", self._symbols(action)))
                case act.Compute():
                    self._spawn(self._timed(_stage(action.job), self._compute(action)))
                case act.StorePending():
                    await self._durable(partial(self._steps.store_pending, action.secret), act.Stored())
                case act.Decide():
                    await self._durable(self._steps.decide, act.Decided())
                case act.MakeReady():
                    await self._durable(self._steps.make_ready, act.Settled())
                case act.Finish():
                    self._finish = action

    async def _timed(self, stage: str, work: Awaitable[None]) -> None:
        began = time.perf_counter()
        await work
        self.stage_seconds[stage] += time.perf_counter() - began

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks.add(asyncio.ensure_future(work))

    async def _in_pool(self, function: Callable[[], object]) -> object:
        return await to_the_end_in(self._executor, function)

    async def _sign(self, action: act.SignTag) -> None:
        header = self._context.header(action.kind, self._pads.offset(action.kind))
        entries = transcript_entries(action.entries)
        self.transcript_bytes = max(self.transcript_bytes, transcript.transcript_bytes(header, entries))
        pad = self._pads.pads[action.kind]
        value = await self._in_pool(lambda: wegman_carter.tag(pad, transcript_parts(header, entries)))
        assert isinstance(value, bytes)
        message = Tag(kind=action.kind.value, pad_offset=self._pads.offset(action.kind), tag=value)
        await self._link.send_round(self.number, messages.encode(message))

    async def _check(self, action: act.CheckTag) -> None:
        is_valid = False
        if action.pad_offset == self._pads.offset(action.kind):
            header, entries = self._context.header(action.kind, action.pad_offset), transcript_entries(action.entries)
            pad = self._pads.pads[action.kind]
            check = partial(wegman_carter.verify, pad, transcript_parts(header, entries), action.tag)
            is_valid = bool(await self._in_pool(check))
        self._events.put_nowait(act.TagChecked(action.kind, is_valid))

    async def _symbols(self, action: act.LookUp) -> None:
        look_up = self._look_up
        if look_up is None:
            raise PeerFailure("a receiver has no symbols to look up")
        async with self._look_up_order:  # the transmitter wants ascending slots
            symbols = await self._in_pool(lambda: look_up(action.slots))
        assert isinstance(symbols, np.ndarray)
        self._events.put_nowait(act.SymbolsRead(symbols))

    async def _compute(self, action: act.Compute) -> None:
        self._events.put_nowait(act.Computed(action.job, await self._in_pool(action.job.run)))

    async def _durable(self, step: Callable[[], None], event: Event) -> None:
        began = time.perf_counter()
        await self._in_pool(step)
        self.stage_seconds["store"] += time.perf_counter() - began
        self._events.put_nowait(event)


def transcript_entries(entries: Sequence[act.Entry]) -> list[TranscriptEntry]:
    """The round's entries as the transcript takes them."""
    return [TranscriptEntry(e.phase, Sender(e.sender), e.sequence, e.type_code, e.payload) for e in entries]


def _stage(job: act.Job) -> str:
    """Name of a job's stage in the record: SyndromeJob -> "syndrome"."""
    return type(job).__name__.removesuffix("Job").lower()
