"""Bob's side of a round: announces slots and bases, corrects, counts errors, stores, acknowledges."""

from __future__ import annotations

import hmac
from typing import ClassVar

import numpy as np

from postproc import amplification, bits, estimation, reconciliation, sifting, slot_coding
from postproc.errors import ProtocolViolation
from postproc.messages import (
    AmplificationSeed,
    DetectionChunk,
    Disclosure,
    ErrorCounts,
    FrameReport,
    Reveal,
    RoundOpen,
    Syndromes,
    Tag,
    Verification,
)
from postproc.records import BitArray, Detections, LinkParameters, Sifted
from postproc.session.acceptance import judge
from postproc.session.actions import (
    Action,
    BlockDetected,
    Compute,
    Computed,
    MakeReady,
    Settled,
    Stored,
    StorePending,
    TagChecked,
    TagKind,
)
from postproc.session.jobs import AmplifyJob, DecodeJob, HashJob
from postproc.session.leakage import LeakageLedger
from postproc.session.round import BOB, Round, State, Table, frame_slice

CHUNK_DETECTIONS = 1 << 18


class BobRound(Round):
    """One round at the receiver."""

    role = BOB

    def __init__(self, payload: bytes, opened: RoundOpen, parameters: LinkParameters) -> None:
        super().__init__(opened, parameters, State.WAITING)
        self._record(1 - self.role, opened, payload)
        self._detections: Detections | None = None
        self._sifted: Sifted | None = None
        self._corrected: BitArray | None = None
        self._reference: sifting.AliceReveal | None = None
        self._code: reconciliation.CodePlan | None = None
        self._attempt = 0
        self._open_frames: tuple[int, ...] = ()
        self._syndromes: dict[int, bytes] = {}
        self._decoded: dict[int, bool] = {}
        self._value = b""

    @property
    def sifted_bits(self) -> int:
        """Length of the sifted key; 0 before sifting."""
        return self._sifted.key_bits.size if self._sifted else 0

    @property
    def detections(self) -> int:
        """Detections of the block; 0 before it is frozen."""
        return self._detections.slot.size if self._detections else 0

    @property
    def double_clicks(self) -> int:
        """Slots in which both bits of a basis clicked."""
        return self._detections.double_clicks if self._detections else 0

    @property
    def cross_basis_clicks(self) -> int:
        """Slots in which both bases clicked."""
        return self._detections.cross_basis_clicks if self._detections else 0

    # ---- slots and bases

    def _on_block(self, event: BlockDetected) -> list[Action]:
        detections = event.detections
        expected = (self.opened.first_slot, self.opened.slots)
        if (detections.first_slot, detections.slots) != expected:
            raise ProtocolViolation(f"block {(detections.first_slot, detections.slots)} in a round for {expected}")
        self._detections = detections
        previous = detections.first_slot - 1
        actions: list[Action] = []
        for sequence, start in enumerate(range(0, detections.slot.size, CHUNK_DETECTIONS)):
            slots = detections.slot[start : start + CHUNK_DETECTIONS]
            deltas = slot_coding.encode_deltas(slots, previous)
            actions.append(self._say(DetectionChunk(sequence=sequence, count=slots.size, deltas=deltas)))
            previous = int(slots[-1])
        actions.append(self._say(sifting.make_bases(detections)))
        self.state = State.REVEAL
        return [*actions, self._sign(TagKind.EARLY)]

    def _on_reveal(self, message: Reveal) -> list[Action]:
        detections = self._require(self._detections)
        reference = sifting.read_reveal(message, detections)
        self._reference = reference
        self._sifted = sifting.sift_bob(detections, reference)
        errors = int(np.count_nonzero(self._sifted.test_bits != reference.test_bits))
        tested = reference.test_bits.size
        limit = self.parameters.qber_x_limit
        if tested and errors / tested > limit:
            return self.abort(f"QBER X {errors / tested:.4f} > {limit:.4f}")
        self.state = State.SYNDROMES
        return []

    # ---- reconciliation

    def _on_syndromes(self, message: Syndromes) -> list[Action]:
        sifted = self._require(self._sifted)
        if message.attempt != self._attempt:
            raise ProtocolViolation(f"syndromes of attempt {message.attempt}, attempt {self._attempt} is due")
        code = reconciliation.CodePlan.parse(message.code)
        expected = self._code_due()
        if code != expected:
            raise ProtocolViolation(f"code {message.code} where {expected.name if expected else 'none'} was due")
        due = tuple(range(code.frames)) if self._code is None else self._open_frames
        if tuple(message.frames) != due or len(message.syndromes) != len(due):
            raise ProtocolViolation(f"syndromes for frames {message.frames[:8]} where {due[:8]} were due")
        self._take_syndromes(code, due, message.syndromes)
        self._code = code
        if self._corrected is None:
            self._corrected = sifted.key_bits.copy()
        self._open_frames, self._decoded = due, {}
        return [
            Compute(
                DecodeJob(
                    code,
                    frame,
                    reconciliation.frame(code, sifted.key_bits, frame),
                    self._syndromes[frame],
                    self.plan.expected_qber_z,
                )
            )
            for frame in due
        ]

    def _code_due(self) -> reconciliation.CodePlan | None:
        """First the code for the expected error ratio, then ever stronger ones; None when there is no stronger one."""
        if self._code is None:
            return reconciliation.choose_code(self.sifted_bits, self.plan.expected_qber_z)
        return reconciliation.strengthen(self._code)

    def _take_syndromes(self, code: reconciliation.CodePlan, due: tuple[int, ...], syndromes: list[bytes]) -> None:
        if self.ledger is None:
            self.ledger = LeakageLedger(code.frames)
        already = self._code.syndrome_bits if self._code else 0
        for frame, syndrome in zip(due, syndromes, strict=True):
            self.ledger.charge_syndrome(frame, code.syndrome_bits - already)
            self._syndromes[frame] = self._syndromes.get(frame, b"") + syndrome

    def _on_decoded(self, job: DecodeJob, result: reconciliation.DecodeResult) -> list[Action]:
        code, corrected = self._require(self._code), self._require(self._corrected)
        if result.is_success:
            piece = frame_slice(code, self.sifted_bits, job.frame)
            corrected[piece] = result.bits[: piece.stop - piece.start]
        self._decoded[job.frame] = result.is_success
        if len(self._decoded) < len(self._open_frames):
            return []
        success = np.array([self._decoded[frame] for frame in self._open_frames], np.uint8)
        report = FrameReport(attempt=self._attempt, success_packed=bits.pack(success))
        self._require(self.ledger).charge_success_bits(len(self._open_frames))
        self._open_frames = tuple(frame for frame in self._open_frames if not self._decoded[frame])
        self._attempt += 1
        return [self._say(report)]

    def _on_disclosure(self, message: Disclosure) -> list[Action]:
        code, corrected = self._require(self._code), self._require(self._corrected)
        if reconciliation.strengthen(code) is not None or tuple(message.frames) != self._open_frames:
            raise ProtocolViolation("frames disclosed that can still be helped, or that decoded")
        if len(message.bits_packed) != len(message.frames):
            raise ProtocolViolation(f"{len(message.bits_packed)} pieces for {len(message.frames)} frames")
        for frame, packed in zip(message.frames, message.bits_packed, strict=True):
            piece = frame_slice(code, self.sifted_bits, frame)
            corrected[piece] = bits.unpack(packed, piece.stop - piece.start)
            self._require(self.ledger).charge_disclosure(frame, piece.stop - piece.start)
        self._open_frames = ()
        return []

    def _on_verification(self, message: Verification) -> list[Action]:
        if self._code is None or self._open_frames:
            raise ProtocolViolation("verification before all frames were corrected or disclosed")
        self._value = message.value
        return [Compute(HashJob(self._require(self._corrected), message.seed))]

    # ---- judgement, amplification, commit

    def _on_hashed(self, value: bytes) -> list[Action]:
        if not hmac.compare_digest(value, self._value):
            return self.abort("verification failed: the reconciled keys differ")
        sifted, corrected = self._require(self._sifted), self._require(self._corrected)
        reference, ledger = self._require(self._reference), self._require(self.ledger)
        ledger.charge_verification(8 * len(value))
        self.counts = estimation.count_errors(sifted, corrected, reference.test_bits)
        ledger.charge_error_counts(self.counts.n_key)
        report = self._say(ErrorCounts(m_key=list(self.counts.m_key), m_test=list(self.counts.m_test)))
        verdict = judge(self.counts, self.parameters, self.plan, ledger)
        self.result = verdict.result
        if not verdict.is_accepted:
            return [report, *self._finish(State.DONE, reason=verdict.reason)]
        self.state = State.SEED
        return [report]

    def _on_seed(self, message: AmplificationSeed) -> list[Action]:
        secret_bits = self.plan.secret_length_bits
        bits.unpack(message.seed_packed, amplification.seed_bits_needed(self.sifted_bits, secret_bits))
        return [Compute(AmplifyJob(self._require(self._corrected), message.seed_packed, secret_bits))]

    def _on_amplified(self, secret: BitArray) -> list[Action]:
        self._corrected = self._sifted = None
        self.state = State.STORING
        return [StorePending(secret)]

    def _on_stored(self, _: Stored) -> list[Action]:
        self.state = State.CONFIRM
        return [self._sign(TagKind.BOB)]

    def _on_alice_tag(self, message: Tag) -> list[Action]:
        return [self._check(TagKind.ALICE, message)]

    def _on_alice_checked(self, event: TagChecked) -> list[Action]:
        if not event.is_valid:
            raise ProtocolViolation("the confirmation is not authentic; the round is settled at resynchronisation")
        return [MakeReady()]

    def _on_settled(self, _: Settled) -> list[Action]:
        acknowledgement = self._sign(TagKind.ACKNOWLEDGE)
        return [acknowledgement, *self._finish(State.DONE)]

    # ----

    def _on_computed(self, event: Computed) -> list[Action]:
        match event.job, event.result:
            case DecodeJob() as job, reconciliation.DecodeResult() as result:
                return self._on_decoded(job, result)
            case HashJob(), bytes() as value:
                return self._on_hashed(value)
            case AmplifyJob(), np.ndarray() as secret:
                return self._on_amplified(secret)
        raise ProtocolViolation(f"no use for the result of {type(event.job).__name__} while {self.state}")

    table: ClassVar[Table] = {
        (State.WAITING, BlockDetected): _on_block,
        (State.REVEAL, Reveal): _on_reveal,
        (State.SYNDROMES, Syndromes): _on_syndromes,
        (State.SYNDROMES, Computed): _on_computed,
        (State.SYNDROMES, Disclosure): _on_disclosure,
        (State.SYNDROMES, Verification): _on_verification,
        (State.SEED, AmplificationSeed): _on_seed,
        (State.SEED, Computed): _on_computed,
        (State.STORING, Stored): _on_stored,
        (State.CONFIRM, Tag): _on_alice_tag,
        (State.CONFIRM, TagChecked): _on_alice_checked,
        (State.CONFIRM, Settled): _on_settled,
    }
