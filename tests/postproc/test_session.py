"""Alice and Bob back to back, without a socket: whole rounds, aborts, hostile messages, failed frames."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections import deque

import numpy as np
import pytest

from postproc import messages
from postproc.errors import ProtocolViolation
from postproc.records import BitArray
from postproc.session import actions as act
from postproc.session.leakage import LeakageLedger
from postproc.session.round import Round, State
from tests.postproc.back_to_back import OPEN, Link


def test_a_round_ends_in_the_same_key_on_both_sides() -> None:
    link = Link(seed=1, qber=0.02)
    link.run()
    assert link.finish["alice"].has_key
    assert link.finish["bob"].has_key
    np.testing.assert_array_equal(link.secrets["alice"], link.secrets["bob"])
    assert link.secrets["alice"].size == OPEN.secret_length_bits
    assert 0.45 < link.secrets["alice"].mean() < 0.55
    assert link.alice.counts == link.bob.counts
    assert link.alice.result == link.bob.result


def test_the_steps_are_durable_in_the_order_of_the_protocol() -> None:
    link = Link(seed=2, qber=0.02)
    link.run()
    steps = [(who, type(action).__name__, getattr(action, "kind", None)) for who, action in link.log]
    order = [
        steps.index(("bob", "StorePending", None)),
        steps.index(("bob", "SignTag", act.TagKind.BOB)),
        steps.index(("alice", "Decide", None)),
        steps.index(("alice", "SignTag", act.TagKind.ALICE)),
        steps.index(("bob", "MakeReady", None)),
        steps.index(("bob", "SignTag", act.TagKind.ACKNOWLEDGE)),
        steps.index(("alice", "MakeReady", None)),
    ]
    assert order == sorted(order)


def test_alice_reveals_nothing_before_the_early_tag() -> None:
    link = Link(seed=3, qber=0.02)
    link.run()
    kinds = [(who, action) for who, action in link.log]
    checked = next(i for i, (who, a) in enumerate(kinds) if isinstance(a, act.CheckTag) and a.kind == act.TagKind.EARLY)
    said = [
        i for i, (who, a) in enumerate(kinds)
        if who == "alice" and isinstance(a, act.Send) and not isinstance(a.message, messages.RoundOpen)
    ]  # fmt: skip
    assert min(said) > checked


def test_both_sides_count_the_same_leakage_and_it_is_what_was_sent() -> None:
    link = Link(seed=4, qber=0.02)
    link.run()
    alice, bob = link.alice.ledger, link.bob.ledger
    assert isinstance(alice, LeakageLedger)
    assert isinstance(bob, LeakageLedger)
    assert alice.entries() == bob.entries()
    sent = [a.message for who, a in link.log if who == "alice" and isinstance(a, act.Send)]
    from postproc.reconciliation import CodePlan

    tapped = 0
    for message in sent:
        if isinstance(message, messages.Syndromes):
            plan = CodePlan.parse(message.code)
            rows = sum(len(piece) for piece in message.syndromes) // ((plan.circulant + 7) // 8)
            tapped += rows * plan.circulant
    assert alice.forward_bits == tapped


@pytest.mark.parametrize(("qber", "words"), [(0.12, "QBER X"), (0.055, "QBER Z")])
def test_too_many_errors_end_without_a_key(qber: float, words: str) -> None:
    link = Link(seed=5, qber=qber)
    link.run()
    assert not link.finish["alice"].has_key
    assert not link.finish["bob"].has_key
    assert words in link.finish["bob"].reason
    assert not link.secrets


def test_failed_frames_are_helped_and_charged() -> None:
    opened = messages.RoundOpen(
        **{f: getattr(OPEN, f) for f in OPEN.__struct_fields__}
        | {"expected_qber_z": 0.012}
        | {"leakage_budget_bits": 13_900, "secret_length_bits": 150}
    )
    link = Link(seed=6, qber=0.02, opened=opened)
    link.run()
    attempts = [a.message for who, a in link.log if who == "bob" and isinstance(a, act.Send)]
    reports = [m for m in attempts if isinstance(m, messages.FrameReport)]
    assert len(reports) > 1
    assert link.finish["alice"].has_key
    np.testing.assert_array_equal(link.secrets["alice"], link.secrets["bob"])
    ledger = link.alice.ledger
    assert ledger is not None
    success = next(entry.bits for entry in ledger.entries() if entry.what == "frame success bits")
    assert success == len(reports)


def test_a_frame_that_fails_finally_is_disclosed_and_stays_in_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from postproc import reconciliation
    from postproc.session import jobs

    real = jobs.reconciliation.decode

    def refuse(
        plan: reconciliation.CodePlan, noisy: BitArray, syndrome: bytes, qber: float
    ) -> reconciliation.DecodeResult:
        return dataclasses.replace(real(plan, noisy, syndrome, qber, 1), is_success=False)

    monkeypatch.setattr(jobs.reconciliation, "decode", refuse)
    link = Link(seed=7, qber=0.02)
    link.run()
    ledger = link.alice.ledger
    assert ledger is not None
    disclosed = next(entry.bits for entry in ledger.entries() if entry.what == "frames disclosed in full")
    assert disclosed == link.alice.sifted_bits == sum(link.alice.counts.n_key if link.alice.counts else ())
    assert all(entry.what != "syndromes" for entry in ledger.entries())
    assert link.alice.counts == link.bob.counts
    assert "leakage" in link.finish["bob"].reason, "a key that was disclosed in full is no key"
    assert not link.secrets


def test_a_changed_message_never_leads_to_a_key() -> None:
    """Every message of a good round, one bit flipped: no side ends with a key that the other has not."""
    seed = 8
    rng = random.Random(seed)
    reference = Link(seed=seed, qber=0.02)
    reference.run()
    count = sum(isinstance(action, act.Send | act.SignTag) for _, action in reference.log)
    for target in range(count):
        link = Link(seed=seed, qber=0.02)
        link.queue = TamperedQueue(target, rng)
        with contextlib.suppress(ProtocolViolation):
            link.run()
        both = "ready" in link.durable["alice"], "ready" in link.durable["bob"]
        if any(both):
            assert "decided" in link.durable["alice"], f"message {target}: ready without Alice's decision"
            np.testing.assert_array_equal(link.secrets["alice"], link.secrets["bob"])
        else:
            assert not all(f.has_key for f in link.finish.values()) or not link.finish


class TamperedQueue(deque[tuple[Round, object]]):
    """Flips one bit of the message number `target`."""

    def __init__(self, target: int, rng: random.Random) -> None:
        super().__init__()
        self._left = target
        self._rng = rng

    def append(self, item: tuple[Round, object]) -> None:
        who, what = item
        if isinstance(what, bytes):
            if self._left == 0:
                broken = bytearray(what)
                broken[self._rng.randrange(len(broken))] ^= 1 << self._rng.randrange(8)
                what = bytes(broken)
            self._left -= 1
        super().append((who, what))


def test_messages_out_of_order_are_refused() -> None:
    link = Link(seed=9, qber=0.02)
    with pytest.raises(ProtocolViolation, match="not allowed"):
        link.alice.receive(messages.encode(messages.ErrorCounts(m_key=[0, 0], m_test=[0, 0])))
    with pytest.raises(ProtocolViolation):
        link.bob.receive(messages.encode(messages.AmplificationSeed(seed_packed=b"")))


def test_a_bad_early_tag_ends_the_round_before_anything_is_revealed() -> None:
    link = Link(seed=10, qber=0.02)
    link.perform(link.alice, [a for a in link.alice.start() if not isinstance(a, act.Send)])
    for action in link.bob.handle(act.BlockDetected(link.block)):
        if isinstance(action, act.Send):
            link.perform(link.alice, link.alice.receive(action.payload))
    while link.queue:
        who, what = link.queue.popleft()
        link.perform(who, who.handle(what))  # type: ignore[arg-type]
    forged = messages.Tag(kind="early", pad_offset=0, tag=bytes(16))
    link.perform(link.alice, link.alice.receive(messages.encode(forged)))
    who, what = link.queue.popleft()
    link.perform(who, who.handle(what))  # type: ignore[arg-type]
    assert link.alice.state is State.DONE
    assert "authentication" in link.finish["alice"].reason
    assert not any(isinstance(a, act.Send) and isinstance(a.message, messages.Reveal) for _, a in link.log)


@pytest.mark.parametrize(
    "changes",
    [
        {"secret_length_bits": 1500},
        {"min_single_photon_key": 24_000},
        {"max_phase_error": 0.1},
        {"leakage_budget_bits": 14_000},
    ],
)
def test_a_plan_that_claims_more_than_its_thresholds_allow_makes_no_key(changes: dict[str, float]) -> None:
    """Nobody checked this: a plan of 900 bits under loose thresholds made a key where the proof gives 449."""
    opened = messages.RoundOpen(**{f: getattr(OPEN, f) for f in OPEN.__struct_fields__} | changes)
    link = Link(seed=11, qber=0.02, opened=opened)
    link.run()
    assert "its thresholds allow" in link.finish["bob"].reason
    assert not link.secrets


def test_a_peer_that_gives_up_when_the_key_is_pending_leads_to_resynchronisation() -> None:
    """Bob's key is stored: only Alice's durable decision may settle it. Waiting for her tag would last two minutes."""
    link = Link(seed=12, qber=0.02)
    link.perform(link.alice, [a for a in link.alice.start() if not isinstance(a, act.Send)])
    link.perform(link.bob, link.bob.handle(act.BlockDetected(link.block)))
    while link.bob.state is not State.CONFIRM:
        who, what = link.queue.popleft()
        link.perform(who, who.receive(what) if isinstance(what, bytes) else who.handle(what))  # type: ignore[arg-type]
    with pytest.raises(ProtocolViolation, match="settled at resynchronisation"):
        link.bob.receive(messages.encode(messages.Abort("no")))
    assert link.bob.is_binding
    assert not link.finish
