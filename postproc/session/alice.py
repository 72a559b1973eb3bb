"""Alice's side of a round: looks symbols up, reveals after the early tag, sends syndromes, judges, decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from postproc import amplification, bits, estimation, reconciliation, sifting, slot_coding, verification
from postproc.errors import ProtocolViolation
from postproc.messages import (
    AmplificationSeed,
    Bases,
    DetectionChunk,
    Disclosure,
    ErrorCounts,
    FrameReport,
    RoundOpen,
    Syndromes,
    Tag,
    Verification,
)
from postproc.records import BitArray, LinkParameters, Sifted
from postproc.session.acceptance import judge
from postproc.session.actions import (
    Action,
    Compute,
    Computed,
    Decide,
    Decided,
    LookUp,
    MakeReady,
    Settled,
    Stored,
    StorePending,
    SymbolsRead,
    TagChecked,
    TagKind,
)
from postproc.session.jobs import AmplifyJob, ExtraSyndromeJob, HashJob, SyndromeJob
from postproc.session.leakage import LeakageLedger
from postproc.session.round import ALICE, Round, State, Table, frame_slice

RandomBytes = Callable[[int], bytes]


class AliceRound(Round):
    """One round at the transmitter. `random_bytes` must be a cryptographic source; it seeds the hashes."""

    role = ALICE

    def __init__(self, opened: RoundOpen, parameters: LinkParameters, random_bytes: RandomBytes) -> None:
        super().__init__(opened, parameters, State.SLOTS)
        self._random_bytes = random_bytes
        self._last_slot = opened.first_slot - 1
        self.detections = 0
        self._symbols: list[np.ndarray] = []
        self._look_ups_open = 0
        self._bases: np.ndarray | None = None
        self._is_early_tag_valid = False
        self._sifted: Sifted | None = None
        self._code: reconciliation.CodePlan | None = None
        self._pending_frames: tuple[int, ...] = ()
        self._attempt = 0
        self._previous_syndrome_bits = 0
        self._verification_seed = b""
        self._secret: BitArray | None = None
        self._bob_tag: Tag | None = None

    def start(self) -> list[Action]:
        """The first message of the round."""
        return [self._say(self.opened)]

    @property
    def sifted_bits(self) -> int:
        """Length of the sifted key; 0 before sifting."""
        return self._sifted.key_bits.size if self._sifted else 0

    # ---- slots, bases, early tag

    def _on_chunk(self, message: DetectionChunk) -> list[Action]:
        limit = self.opened.first_slot + self.opened.slots
        slots = slot_coding.decode_deltas(message.deltas, message.count, self._last_slot, limit)
        if slots.size == 0:
            return []
        self._last_slot = int(slots[-1])
        self.detections += slots.size
        self._look_ups_open += 1
        return [LookUp(slots)]

    def _on_symbols(self, event: SymbolsRead) -> list[Action]:
        self._symbols.append(event.symbols)
        self._look_ups_open -= 1
        return self._reveal_when_allowed()

    def _on_bases(self, message: Bases) -> list[Action]:
        if message.count != self.detections:
            raise ProtocolViolation(f"{message.count} bases for {self.detections} detections")
        self._bases = sifting.read_bases(message, self.detections)
        self.state = State.EARLY_TAG
        return []

    def _on_early_tag(self, message: Tag) -> list[Action]:
        return [self._check(TagKind.EARLY, message)]

    def _on_early_checked(self, event: TagChecked) -> list[Action]:
        if not event.is_valid:
            return self.abort("authentication of slots and bases failed")
        self._is_early_tag_valid = True
        return self._reveal_when_allowed()

    def _reveal_when_allowed(self) -> list[Action]:
        """Say nothing about the symbols before Bob's slots and bases are authentic (protocol §3.3)."""
        if not self._is_early_tag_valid or self._look_ups_open:
            return []
        symbols = np.concatenate(self._symbols) if self._symbols else np.empty(0, np.uint8)
        self._sifted = sifting.sift_alice(symbols, self._require(self._bases))
        self._symbols = []
        reveal = self._say(sifting.make_reveal(symbols, self._sifted))
        if self.sifted_bits < max(self.plan.secret_length_bits, 1):
            return [
                reveal,
                *self.abort(f"{self.sifted_bits} sifted bits, {self.plan.secret_length_bits} secret bits were planned"),
            ]
        self._code = reconciliation.choose_code(self.sifted_bits, self.plan.expected_qber_z)
        self.ledger = LeakageLedger(self._code.frames)
        self._pending_frames = tuple(range(self._code.frames))
        self.state = State.RECONCILING
        return [reveal, Compute(SyndromeJob(self._code, self._sifted.key_bits))]

    # ---- reconciliation

    def _on_syndromes_made(self, syndromes: tuple[bytes, ...]) -> list[Action]:
        code, ledger = self._require(self._code), self._require(self.ledger)
        for frame in self._pending_frames:
            ledger.charge_syndrome(frame, code.syndrome_bits - self._previous_syndrome_bits)
        return [
            self._say(
                Syndromes(
                    attempt=self._attempt,
                    code=code.name,
                    frames=list(self._pending_frames),
                    syndromes=list(syndromes),
                )
            )
        ]

    def _on_report(self, message: FrameReport) -> list[Action]:
        if message.attempt != self._attempt:
            raise ProtocolViolation(f"report of attempt {message.attempt}, attempt {self._attempt} is open")
        success = bits.unpack(message.success_packed, len(self._pending_frames))
        self._require(self.ledger).charge_success_bits(len(self._pending_frames))
        self._pending_frames = tuple(
            frame for frame, is_good in zip(self._pending_frames, success, strict=True) if not is_good
        )
        return self._help_failed_frames() if self._pending_frames else self._start_verification()

    def _help_failed_frames(self) -> list[Action]:
        code, sifted = self._require(self._code), self._require(self._sifted)
        stronger = reconciliation.strengthen(code)
        if stronger is None:
            return self._disclose(code, sifted)
        self._attempt += 1
        self._previous_syndrome_bits = code.syndrome_bits
        self._code = stronger
        return [Compute(ExtraSyndromeJob(code, stronger, sifted.key_bits, self._pending_frames))]

    def _disclose(self, code: reconciliation.CodePlan, sifted: Sifted) -> list[Action]:
        pieces = [frame_slice(code, sifted.key_bits.size, frame) for frame in self._pending_frames]
        for frame, piece in zip(self._pending_frames, pieces, strict=True):
            self._require(self.ledger).charge_disclosure(frame, piece.stop - piece.start)
        disclosure = Disclosure(
            frames=list(self._pending_frames),
            bits_packed=[bits.pack(sifted.key_bits[piece]) for piece in pieces],
        )
        return [self._say(disclosure), *self._start_verification()]

    def _start_verification(self) -> list[Action]:
        self._verification_seed = self._random_bytes(verification.SEED_BYTES)
        return [Compute(HashJob(self._require(self._sifted).key_bits, self._verification_seed))]

    def _on_hashed(self, value: bytes) -> list[Action]:
        self._require(self.ledger).charge_verification(8 * len(value))
        self.state = State.ERRORS
        return [self._say(Verification(seed=self._verification_seed, value=value))]

    # ---- judgement and amplification

    def _on_error_counts(self, message: ErrorCounts) -> list[Action]:
        sifted, ledger = self._require(self._sifted), self._require(self.ledger)
        self.counts = estimation.counts_from_errors(sifted, tuple(message.m_key), tuple(message.m_test))
        ledger.charge_error_counts(self.counts.n_key)
        verdict = judge(self.counts, self.parameters, self.plan, ledger)
        self.result = verdict.result
        if not verdict.is_accepted:
            return self.abort(verdict.reason)
        secret_bits = self.plan.secret_length_bits
        seed_bits = amplification.seed_bits_needed(sifted.key_bits.size, secret_bits)
        seed = _without_spare_bits(self._random_bytes((seed_bits + 7) // 8), seed_bits)
        self.state = State.BOB_TAG
        return [
            self._say(AmplificationSeed(seed_packed=seed)),
            Compute(AmplifyJob(sifted.key_bits, seed, secret_bits)),
        ]

    def _on_amplified(self, secret: BitArray) -> list[Action]:
        self._secret = secret
        return self._check_bob_tag_when_ready()

    # ---- commit

    def _on_bob_tag(self, message: Tag) -> list[Action]:
        if self._bob_tag is not None:
            raise ProtocolViolation("Bob's tag came twice")
        self._bob_tag = message
        return self._check_bob_tag_when_ready()

    def _check_bob_tag_when_ready(self) -> list[Action]:
        if self._secret is None or self._bob_tag is None:
            return []
        return [self._check(TagKind.BOB, self._bob_tag)]

    def _on_bob_checked(self, event: TagChecked) -> list[Action]:
        if not event.is_valid:
            return self.abort("authentication of the transcript failed")
        self.state = State.DECIDING
        return [StorePending(self._require(self._secret))]

    def _on_stored(self, _: Stored) -> list[Action]:
        self._secret = None
        return [Decide()]

    def _on_decided(self, _: Decided) -> list[Action]:
        self.state = State.ACKNOWLEDGE
        return [self._sign(TagKind.ALICE)]

    def _on_acknowledge(self, message: Tag) -> list[Action]:
        return [self._check(TagKind.ACKNOWLEDGE, message)]

    def _on_acknowledge_checked(self, event: TagChecked) -> list[Action]:
        if not event.is_valid:
            raise ProtocolViolation("the acknowledgement is not authentic; the round is settled at resynchronisation")
        return [MakeReady()]

    def _on_settled(self, _: Settled) -> list[Action]:
        return self._finish(State.DONE)

    # ----

    def _on_computed(self, event: Computed) -> list[Action]:
        match event.job, event.result:
            case ((SyndromeJob() | ExtraSyndromeJob()), tuple() as syndromes):
                return self._on_syndromes_made(syndromes)
            case HashJob(), bytes() as value:
                return self._on_hashed(value)
            case AmplifyJob(), np.ndarray() as secret:
                return self._on_amplified(secret)
        raise ProtocolViolation(f"no use for the result of {type(event.job).__name__} while {self.state}")

    table: ClassVar[Table] = {
        (State.SLOTS, DetectionChunk): _on_chunk,
        (State.SLOTS, SymbolsRead): _on_symbols,
        (State.SLOTS, Bases): _on_bases,
        (State.EARLY_TAG, SymbolsRead): _on_symbols,
        (State.EARLY_TAG, Tag): _on_early_tag,
        (State.EARLY_TAG, TagChecked): _on_early_checked,
        (State.RECONCILING, Computed): _on_computed,
        (State.RECONCILING, FrameReport): _on_report,
        (State.ERRORS, ErrorCounts): _on_error_counts,
        (State.BOB_TAG, Computed): _on_computed,
        (State.BOB_TAG, Tag): _on_bob_tag,
        (State.BOB_TAG, TagChecked): _on_bob_checked,
        (State.DECIDING, Stored): _on_stored,
        (State.DECIDING, Decided): _on_decided,
        (State.ACKNOWLEDGE, Tag): _on_acknowledge,
        (State.ACKNOWLEDGE, TagChecked): _on_acknowledge_checked,
        (State.ACKNOWLEDGE, Settled): _on_settled,
    }


def _without_spare_bits(data: bytes, n_bits: int) -> bytes:
    """The packed form of `n_bits` bits has zeros behind the last one."""
    return bits.pack(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:n_bits])
