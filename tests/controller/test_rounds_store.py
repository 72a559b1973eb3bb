"""The durable side of the ordered commit."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.keys.errors import RefillMismatch, RoundStateError
from controller.keys.rounds import UnsettledRound
from controller.trust.pads import NO_REFILL, RefillEntry, RefillLayout
from tests.controller.stores import Pair, make_pair


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = make_pair(tmp_path)
    yield pair
    pair.close()


def test_round_numbers_only_rise(pair: Pair) -> None:
    assert pair.alice.last_round() == -1
    pair.alice.open_round(1, 4)
    for epoch, number in ((1, 4), (1, 3), (0, 5)):
        with pytest.raises(RoundStateError, match="does not follow"):
            pair.alice.open_round(epoch, number)
    pair.alice.open_round(2, 5)
    assert (pair.alice.epoch, pair.alice.last_round()) == (2, 5)


def test_keys_are_equal_on_both_sides_and_ids_alike(pair: Pair) -> None:
    pair.commit(3, secrets.token_bytes(32 * 5 + 7))
    ids = pair.alice.key_ids(3)
    assert ids == pair.bob.key_ids(3)
    assert len(ids) == 5
    assert pair.alice.counts().ready_as_master == 3
    assert pair.bob.counts().ready_as_master == 2


def test_bits_that_do_not_fill_a_byte_are_dropped(pair: Pair) -> None:
    pair.commit(0, secrets.token_bytes(32), bits=255)
    assert pair.alice.counts().keys_ready == 0


def test_nothing_is_ready_before_alice_decides(pair: Pair) -> None:
    pair.alice.open_round(1, 0)
    pair.alice.save_pending(0, bytes(32), 256, NO_REFILL, b"note")
    with pytest.raises(RoundStateError, match="pending, needed: committed"):
        pair.alice.make_ready(0)
    assert pair.alice.counts().keys_ready == 0
    assert pair.alice.record(0) == b"note"


def test_decided_rounds_are_never_dropped_and_steps_repeat(pair: Pair) -> None:
    pair.alice.open_round(1, 0)
    pair.alice.save_pending(0, bytes(32), 256, NO_REFILL, b"")
    pair.alice.decide(0)
    pair.alice.decide(0)
    with pytest.raises(RoundStateError, match="committed"):
        pair.alice.drop(0)
    pair.reopen()
    assert pair.alice.unsettled() == (UnsettledRound(1, 0, "committed"),)
    pair.alice.make_ready(0)
    pair.alice.make_ready(0)
    pair.alice.decide(0)
    assert pair.alice.settled(0) == "ready"
    assert pair.alice.counts().keys_ready == 1


def test_bob_neither_decides_nor_drops_a_pending_round_by_himself(pair: Pair) -> None:
    pair.bob.open_round(1, 0)
    pair.bob.save_pending(0, bytes(32), 256, NO_REFILL, b"")
    with pytest.raises(RoundStateError, match="only Alice"):
        pair.bob.decide(0)
    with pytest.raises(RoundStateError, match="pending"):
        pair.bob.drop(0)
    pair.bob.drop_on_word_of_alice(0)
    pair.bob.drop_on_word_of_alice(0)
    assert pair.bob.settled(0) == "dropped"
    with pytest.raises(RoundStateError, match="dropped"):
        pair.bob.make_ready(0)


def test_open_rounds_are_dropped_by_either(pair: Pair) -> None:
    for store in (pair.alice, pair.bob):
        store.open_round(1, 0)
        store.drop(0)
        assert store.unsettled() == ()
        assert store.settled(1) is None


@pytest.mark.parametrize(("n_bytes", "bits"), [(32, 257), (32, 0), (33, 256)])
def test_length_and_bits_must_agree(pair: Pair, n_bytes: int, bits: int) -> None:
    pair.alice.open_round(1, 0)
    with pytest.raises(ValueError, match="cannot be a key"):
        pair.alice.save_pending(0, bytes(n_bytes), bits, NO_REFILL, b"")


def test_a_refill_longer_than_the_block_is_refused(pair: Pair) -> None:
    pair.alice.open_round(1, 0)
    with pytest.raises(RefillMismatch, match="does not fit"):
        pair.alice.save_pending(0, bytes(32), 256, RefillLayout((RefillEntry("round", "ab", 4096, 33),)), b"")
