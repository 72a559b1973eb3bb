"""What Alice's and Bob's rounds share: the transcript, the table of what may come next, and the plan.

          Alice                                            Bob
  SLOTS         <- DetectionChunk*, Bases         WAITING   (the block is being acquired)
  EARLY_TAG     <- Tag early                      REVEAL    -> chunks, Bases, tag early      <- Reveal
                -> Reveal, Syndromes              SYNDROMES                                  <- Syndromes | Disclosure
                | Verification
  RECONCILING   <- FrameReport                              -> FrameReport
                -> Syndromes | Disclosure, Verification
  ERRORS        <- ErrorCounts                    SEED      -> ErrorCounts                   <- AmplificationSeed
  BOB_TAG       -> AmplificationSeed  <- Tag bob            (key pending) -> tag bob
  ACKNOWLEDGE   (key decided) -> tag alice        CONFIRM                                    <- Tag alice
                <- Tag acknowledge                          (key ready) -> tag acknowledge
  DONE                                            DONE

A message that the table does not allow in the state is a ProtocolViolation: the round ends, no key. After Alice has
decided or Bob has stored the key as pending, a round no longer ends by a message: it is settled by Alice's durable
decision (protocol §3.10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from postproc import messages
from postproc.errors import ProtocolViolation
from postproc.messages import Abort, Message, RoundOpen, Tag
from postproc.reconciliation import CodePlan
from postproc.records import BlockCounts, BlockPlan, FiniteKeyResult, LinkParameters
from postproc.session.actions import Action, CheckTag, Entry, Event, Finish, Send, SignTag, TagKind
from postproc.session.leakage import LeakageLedger

ALICE, BOB = 0, 1
T = TypeVar("T")


class State(StrEnum):
    """States of both roles; each role uses its own."""

    SLOTS = "receiving slots"
    EARLY_TAG = "waiting for the tag over slots and bases"
    RECONCILING = "reconciling"
    ERRORS = "waiting for error counts"
    BOB_TAG = "waiting for Bob's tag"
    DECIDING = "deciding"
    ACKNOWLEDGE = "waiting for the acknowledgement"
    WAITING = "acquiring the block"
    REVEAL = "waiting for Alice's bases"
    SYNDROMES = "waiting for syndromes"
    SEED = "waiting for the amplification seed"
    STORING = "storing the pending key"
    CONFIRM = "waiting for Alice's confirmation"
    DONE = "done"


Handler = Callable[[Any, Any], list[Action]]
Table = Mapping[tuple[State, type], Handler]


def plan_of(opened: RoundOpen) -> BlockPlan:
    """The plan as it stands in the first message of the round."""
    return BlockPlan(
        secret_length_bits=opened.secret_length_bits,
        leakage_budget_bits=opened.leakage_budget_bits,
        min_single_photon_key=opened.min_single_photon_key,
        max_phase_error=opened.max_phase_error,
        expected_qber_z=opened.expected_qber_z,
    )


def frame_slice(plan: CodePlan, key_bits: int, frame: int) -> slice:
    """Where a frame's bits stand in a key of `key_bits` bits; the last frame's padding is not part of it."""
    return slice(frame * plan.frame_bits, min((frame + 1) * plan.frame_bits, key_bits))


class Round:
    """Common state. Subclasses define `table`, `role` and the handlers."""

    role: ClassVar[int]
    table: ClassVar[Table]

    def __init__(self, opened: RoundOpen, parameters: LinkParameters, first_state: State) -> None:
        self.opened = opened
        self.parameters = parameters
        self.plan = plan_of(opened)
        self.state = first_state
        self.counts: BlockCounts | None = None
        self.result: FiniteKeyResult | None = None
        self.ledger: LeakageLedger | None = None
        self.reason = ""
        self._entries: list[Entry] = []
        self._sequence = [0, 0]

    # ---- in

    def receive(self, payload: bytes) -> list[Action]:
        """A message of the peer. Raises ProtocolViolation; the caller then ends the round with `abort`. After the
        end: void.
        """
        if self.state is State.DONE:
            return []
        message = messages.decode(payload)
        if isinstance(message, Abort):
            return self._aborted_by_peer(message)
        handler = self.table.get((self.state, type(message)))
        if handler is None:
            raise ProtocolViolation(f"{type(message).__name__} is not allowed while {self.state}")
        if not isinstance(message, Tag):
            self._record(1 - self.role, message, payload)
        return handler(self, message)

    def handle(self, event: Event) -> list[Action]:
        """The outcome of an action. Outcomes that arrive after the end of the round are void."""
        if self.state is State.DONE:
            return []
        handler = self.table.get((self.state, type(event)))
        if handler is None:
            raise ProtocolViolation(f"{type(event).__name__} is not expected while {self.state}")
        return handler(self, event)

    def abort(self, reason: str) -> list[Action]:
        """End the round without a key and tell the peer why (advisory). Refused once the key is pending or decided."""
        if self.is_binding:
            raise ProtocolViolation(f"a round cannot be aborted while {self.state}")
        self.state = State.DONE
        self.reason = reason
        message = Abort(reason=reason[:400])
        return [Send(message, messages.encode(message)), Finish(has_key=False, reason=reason)]

    # ---- for the handlers

    @property
    def is_binding(self) -> bool:
        """True from the moment at which only Alice's durable decision can settle the round."""
        return self.state in (State.DECIDING, State.ACKNOWLEDGE, State.STORING, State.CONFIRM)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The transcript so far, in its canonical order."""
        return tuple(sorted(self._entries, key=lambda entry: (entry.phase, entry.sender, entry.sequence)))

    @staticmethod
    def _require(value: T | None) -> T:
        """For what an earlier state must have set; the peer cannot bring this about where the table is right."""
        if value is None:
            raise ProtocolViolation("the round is not that far yet")
        return value

    def _say(self, message: Message) -> Send:
        payload = messages.encode(message)
        self._record(self.role, message, payload)
        return Send(message, payload)

    def _record(self, sender: int, message: Message, payload: bytes) -> None:
        entry = Entry(
            phase=messages.PHASE[type(message)],
            sender=sender,
            sequence=self._sequence[sender],
            type_code=int(type(message).__struct_config__.tag or 0),
            payload=payload,
        )
        self._sequence[sender] += 1
        self._entries.append(entry)

    def _sign(self, kind: TagKind) -> SignTag:
        return SignTag(kind, self.entries)

    def _check(self, kind: TagKind, message: Tag) -> CheckTag:
        if message.kind != kind:
            raise ProtocolViolation(f"tag of kind {message.kind!r} where {kind.value!r} was due")
        return CheckTag(kind, self.entries, message.pad_offset, message.tag)

    def _finish(self, state: State, *, reason: str = "") -> list[Action]:
        self.state = state
        self.reason = reason
        return [Finish(has_key=not reason, reason=reason)]

    def _aborted_by_peer(self, message: Abort) -> list[Action]:
        if self.is_binding:
            raise ProtocolViolation(f"the peer gave up while {self.state}; the round is settled at resynchronisation")
        return self._finish(State.DONE, reason=f"peer: {message.reason}")
