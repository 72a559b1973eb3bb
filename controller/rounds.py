"""Opens, runs and records one round at either node: pads, refill, durable steps, record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import msgspec

from controller.block_record import BlockRecord
from controller.errors import SecurityFailure
from controller.keys.key_shelf import CHUNK_BITS, key_id
from controller.node_parts import NodeParts, utc_now
from controller.peer import PeerLink
from controller.round_shell import (
    PAD_BYTES,
    PADS_A_TO_B,
    PADS_B_TO_A,
    DurableSteps,
    RoundContext,
    RoundPads,
    RoundShell,
    SymbolSource,
    transcript_entries,
)
from controller.trust import wegman_carter
from controller.trust.pads import RefillLayout
from controller.trust.transcript import transcript_sha256
from postproc import bits
from postproc.messages import RoundOpen
from postproc.records import BitArray, LinkParameters
from postproc.session.actions import Action, Event
from postproc.session.alice import AliceRound
from postproc.session.bob import BobRound

TAGS_PER_ROUND = len(PADS_A_TO_B) + len(PADS_B_TO_A)
PROOF_MODE = "fixed-length"
REFUTED_BY_A_KEY = (  # not those of the light: it may have gone since the block was acquired
    "round-aborted", "qber-z", "qber-x", "authentication-failed", "calibration-failed", "calibration-expired",
)  # fmt: skip


def canonical_parameters(parameters: LinkParameters) -> bytes:
    """One byte string per set of parameters: JSON with sorted keys and shortest floats."""
    return msgspec.json.encode(parameters, order="deterministic")


def burn_round_pads(node: NodeParts, a_to_b_offset: int | None = None, b_to_a_offset: int | None = None) -> RoundPads:
    """Burn all pads of the next round durably; at the peer's offsets when they are given. Raises PoolStarved,
    PadRefused.
    """
    a_to_b = node.store.burn("round", "ab", PAD_BYTES * len(PADS_A_TO_B), a_to_b_offset)
    b_to_a = node.store.burn("round", "ba", PAD_BYTES * len(PADS_B_TO_A), b_to_a_offset)
    return RoundPads.cut(a_to_b.offset, bytes(a_to_b.data), b_to_a.offset, bytes(b_to_a.data))


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """`reason` is empty for a key."""

    record: BlockRecord

    @property
    def has_key(self) -> bool:
        """Whether the block became a key."""
        return self.record.outcome == "key"


class RoundRunner:
    """One round of a node, from its pads to its record."""

    def __init__(
        self,
        node: NodeParts,
        link: PeerLink,
        protocol_round: AliceRound | BobRound,
        pads: RoundPads,
        refill: RefillLayout,
    ) -> None:
        self._node, self._link, self._round, self._pads, self._refill = node, link, protocol_round, pads, refill
        self._began_s = time.monotonic()

    async def run(
        self, first: Sequence[Action], events: Sequence[Event] = (), look_up: SymbolSource | None = None
    ) -> RoundOutcome:
        """To the end, whatever it is. The record is written before this returns; exceptions leave none."""
        node, opened = self._node, self._round.opened
        names = (node.config.node.name, node.config.peer.name)
        alice, bob = names if node.config.node.role == "alice" else names[::-1]
        context = RoundContext(
            link_id=node.parameters.link_id,
            epoch=opened.epoch,
            round=opened.round,
            identity_a=alice,
            identity_b=bob,
            parameters=canonical_parameters(node.parameters),
            version=node.parameters.software_version,
        )
        steps = DurableSteps(
            store_pending=self._store_pending,
            decide=lambda: node.store.decide(opened.round),
            make_ready=lambda: node.store.make_ready(opened.round),
        )
        shell = RoundShell(self._round, self._link, self._pads, context, steps, node.pool, look_up, self._report)
        finish = await shell.run(first, events)
        record = self._record(shell, finish.has_key, finish.reason)
        node.recorder.block(record)
        self._account(record)
        return RoundOutcome(record)

    def _report(self, stage: str) -> None:
        self._node.progress.stage = stage

    def _store_pending(self, secret: BitArray) -> None:
        opened = self._round.opened
        note = msgspec.json.encode(
            {"round": opened.round, "session": opened.session_id, "first_slot": opened.first_slot}
        )
        self._node.store.save_pending(opened.round, bits.pack(secret), secret.size, self._refill, note)

    def _record(self, shell: RoundShell, has_key: bool, reason: str) -> BlockRecord:
        r, node, opened = self._round, self._node, self._round.opened
        counts, result, ledger = r.counts, r.result, r.ledger
        zero = (0, 0)
        leakage = ledger.entries() if ledger else ()
        leaked = sum(entry.bits for entry in leakage)
        n_key = sum(counts.n_key) if counts else 0
        entropy = n_key * _binary_entropy(counts.qber_z) if counts else 0.0
        ids = self._key_ids(opened) if has_key else ()
        return BlockRecord(
            link_id=node.parameters.link_id,
            node=node.config.node.name,
            epoch=opened.epoch,
            round=opened.round,
            outcome="key" if has_key else "aborted",
            reason=reason,
            session_id=opened.session_id,
            first_slot=opened.first_slot,
            slots=opened.slots,
            time_utc=utc_now(),
            detections=r.detections,
            sifted_bits=n_key,
            n_key=counts.n_key if counts else zero,
            n_test=counts.n_test if counts else zero,
            m_key=counts.m_key if counts else zero,
            m_test=counts.m_test if counts else zero,
            qber_z=counts.qber_z if counts else 0.5,
            qber_x=counts.qber_x if counts else 0.5,
            double_clicks=r.double_clicks if isinstance(r, BobRound) else 0,
            cross_basis_clicks=r.cross_basis_clicks if isinstance(r, BobRound) else 0,
            phase_error_bound=result.phase_error_bound if result else 0.5,
            single_photon_key=result.single_photon_key if result else 0,
            leakage=tuple((entry.what, entry.direction, entry.bits) for entry in leakage),
            leakage_bits=leaked,
            efficiency_f=leaked / entropy if entropy else 0.0,
            efficiency_f_forward=ledger.forward_bits / entropy if ledger and entropy else 0.0,
            plan_secret_length_bits=opened.secret_length_bits,
            plan_leakage_budget_bits=opened.leakage_budget_bits,
            plan_min_single_photon_key=opened.min_single_photon_key,
            plan_max_phase_error=opened.max_phase_error,
            observed_length_bits=result.observed_length_bits if result else 0,
            secret_bits=opened.secret_length_bits if has_key else 0,
            refill_bits=8 * self._refill.total_bytes if has_key else 0,
            key_ids=(ids[0], ids[-1]) if ids else (),
            key_count=len(ids),
            proof=node.parameters.proof,
            mode=PROOF_MODE,
            eps_sec=node.parameters.eps_sec,
            eps_cor=node.parameters.eps_cor,
            eps_auth=TAGS_PER_ROUND * wegman_carter.epsilon(shell.transcript_bytes),
            auth="its",
            auth_bits_consumed=8 * PAD_BYTES * TAGS_PER_ROUND,
            assumptions=result.assumptions if result else (),
            calibration_ids=tuple(c.identifier for c in node.progress.calibrations.values()),
            transcript_sha256=transcript_sha256(transcript_entries(r.entries)),
            mean_photon_numbers=node.parameters.mean_photon_numbers,
            intensity_probabilities=node.parameters.intensity_probabilities,
            key_basis_probability=node.parameters.key_basis_probability,
            verification_bits=ledger.verification_bits if ledger else 0,
            stage_seconds=dict(shell.stage_seconds) | {"round": time.monotonic() - self._began_s},
        )

    def _key_ids(self, opened: RoundOpen) -> tuple[str, ...]:
        """All key_IDs of the block, by index; they follow from public data alone."""
        store = self._node.store
        count = (opened.secret_length_bits // 8 - self._refill.total_bytes) * 8 // CHUNK_BITS
        link_id = self._node.parameters.link_id
        return tuple(str(key_id(store.psk_serial, link_id, opened.epoch, opened.round, i)) for i in range(count))

    def _account(self, record: BlockRecord) -> None:
        node, p = self._node, self._node.progress
        if record.sifted_bits:
            p.qber_z, p.qber_x = record.qber_z, record.qber_x
        p.detections_in_block = record.detections
        p.link_time_s += record.slots / node.parameters.slot_rate_hz
        if p.first_block_s is None:
            p.first_block_s = self._began_s
        if record.outcome == "key":
            p.blocks_made += 1
            p.sifted_bits += record.sifted_bits
            p.secret_bits += record.secret_bits
            node.clear_alarms(*REFUTED_BY_A_KEY)
        else:
            p.blocks_aborted += 1
            p.last_abort_reason = record.reason
            node.raise_alarm(alarm_of(record.reason), record.reason)
        node.log.info(
            "round", number=record.round, outcome=record.outcome, reason=record.reason, bits=record.secret_bits
        )


def alarm_of(reason: str) -> str:
    """The alarm id that fits the reason of an abort."""
    for words, code in (("QBER X", "qber-x"), ("QBER Z", "qber-z"), ("authenti", "authentication-failed")):
        if words in reason:
            return code
    return "round-aborted"


def require_progress(node: NodeParts, opened: RoundOpen) -> None:
    """Bob: refuse a round that is not exactly the next one by Alice's authenticated greeting, or of another epoch: the
    number becomes durable before anything else is authenticated. Raises SecurityFailure.
    """
    due, epoch = max(node.round_due, node.store.last_round() + 1), node.store.epoch
    if opened.round != due or opened.epoch != epoch:
        raise SecurityFailure(
            f"round {opened.round} of epoch {opened.epoch} where round {due} of epoch {epoch} was due"
        )


def _binary_entropy(ratio: float) -> float:
    return 0.0 if ratio in (0.0, 1.0) else -ratio * log2(ratio) - (1 - ratio) * log2(1 - ratio)
