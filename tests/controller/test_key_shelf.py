"""Keys: cut alike, promised once, delivered once per entitled consumer, erased then."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.keys.errors import KeyNotFound, NotEnoughKeys, NotEntitled, NoticeRefused
from controller.keys.key_shelf import chunks_needed, key_id
from tests.controller.stores import Pair, make_pair

SECRET = bytes(index % 251 for index in range(32 * 40))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = make_pair(tmp_path)
    pair.commit(0, SECRET)
    yield pair
    pair.close()


def hand_over(pair: Pair, number: int, size_bits: int, slaves: tuple[str, ...] = ("s",)) -> list[str]:
    ids = [key.key_id for key in pair.alice.reserve("m", slaves, number, size_bits)]
    pair.bob.record_notice("m", slaves, ids, size_bits)
    return ids


@pytest.mark.parametrize("size_bits", [64, 256, 264, 1000, 4096])
def test_sizes_are_runs_of_the_masters_chunks(pair: Pair, size_bits: int) -> None:
    ids = hand_over(pair, 1, size_bits)
    (master,) = pair.alice.deliver_master(ids, "m")
    (slave,) = pair.bob.deliver_slave(ids, "s", "m")
    even_chunks = b"".join(SECRET[64 * step : 64 * step + 32] for step in range(20))
    assert master.material == slave.material == even_chunks[: size_bits // 8]
    assert pair.alice.counts().ready_as_master == 20 - chunks_needed(size_bits)


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**20))
def test_key_ids_are_version_8_and_differ(epoch: int, round_number: int, chunk: int) -> None:
    one = key_id(bytes(16), "link", epoch, round_number, chunk)
    assert one.version == 8
    assert one.variant == uuid.RFC_4122
    assert one != key_id(bytes(16), "link", epoch, round_number, chunk + 1)
    assert one != key_id(bytes(15) + b"\1", "link", epoch, round_number, chunk)


@pytest.mark.parametrize("size_bits", [0, -8, 7, 12, 4104])
def test_other_sizes_are_refused(pair: Pair, size_bits: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        pair.alice.reserve("m", ["s"], 1, size_bits)


def test_too_few_keys_reserve_nothing(pair: Pair) -> None:
    with pytest.raises(NotEnoughKeys, match="21 keys"):
        pair.alice.reserve("m", ["s"], 21, 256)
    assert pair.alice.counts().ready_as_master == 20
    with pytest.raises(NotEnoughKeys, match="2 in store"):
        pair.alice.reserve("m", ["s"], 3, 2560 - 256)
    assert pair.alice.counts().reserved == 0


def test_runs_never_cross_a_round(pair: Pair) -> None:
    pair.commit(1, SECRET)
    pair.alice.reserve("m", ["s"], 19, 256)
    (key,) = pair.alice.reserve("m", ["s"], 1, 512)
    assert key.key_id == pair.alice.key_ids(1)[0]


def test_each_entitled_consumer_gets_it_once_and_then_it_is_erased(pair: Pair, tmp_path: Path) -> None:
    ids = hand_over(pair, 2, 512, ("s", "t"))
    pair.alice.deliver_master(ids, "m")
    with pytest.raises(KeyNotFound):
        pair.alice.deliver_master(ids, "m")
    with pytest.raises(NotEntitled):
        pair.alice.deliver_slave(ids, "s", "m")
    first = pair.bob.deliver_slave(ids, "s", "m")
    with pytest.raises(KeyNotFound, match="already"):
        pair.bob.deliver_slave(ids, "s", "m")
    assert pair.bob.counts().entitled == 2
    second = pair.bob.deliver_slave(ids, "t", "m")
    assert [key.material for key in first] == [key.material for key in second]
    with pytest.raises(KeyNotFound, match="already"):
        pair.bob.deliver_slave(ids, "t", "m")
    pair.close()
    for node in ("alice", "bob"):
        with sqlite3.connect(tmp_path / f"{node}.sqlite") as raw:
            left = raw.execute("SELECT count(*) FROM keys WHERE sealed IS NOT NULL").fetchone()[0]
        raw.close()
        assert left == 40 - 4


def test_all_or_nothing(pair: Pair) -> None:
    ids = hand_over(pair, 2, 256)
    for bad in ([*ids, str(uuid.uuid4())], [ids[0], ids[0]], [*ids, "no uuid"]):
        with pytest.raises(KeyNotFound):
            pair.bob.deliver_slave(bad, "s", "m")
    assert len(pair.bob.deliver_slave(ids, "s", "m")) == 2


def test_only_the_named_consumers_are_entitled(pair: Pair) -> None:
    ids = hand_over(pair, 1, 256)
    with pytest.raises(NotEntitled):
        pair.alice.deliver_master(ids, "other")
    for sae, master in (("other", "m"), ("s", "other")):
        with pytest.raises(NotEntitled):
            pair.bob.deliver_slave(ids, sae, master)
    assert pair.bob.deliver_slave(ids, "s", "m")


def test_notices_that_do_not_fit_record_nothing(pair: Pair) -> None:
    even, odd = pair.alice.key_ids(0)[0::2], pair.alice.key_ids(0)[1::2]
    pair.bob.record_notice("m", ["s"], [even[0]], 256)
    refused: list[tuple[str, list[str], list[str], int]] = [
        ("m", ["s"], [even[1], odd[0]], 256),  # Bob's own to give
        ("m", ["s"], [even[1], str(uuid.uuid4())], 256),
        ("m", ["s"], [even[1], even[1]], 256),
        ("m", ["s", "s"], [even[1]], 256),
        ("m", [], [even[1]], 256),
        ("m", ["s"], [even[19]], 264),  # longer than its round
        ("m", ["s"], [even[1], even[2]], 264),  # overlapping runs
        ("m", ["s"], [even[1]], 12),
        ("x", ["s"], [even[0]], 256),  # promised to another one
        ("m", ["s", "t"], [even[0]], 256),
        ("m", ["s"], [even[0]], 128),
    ]
    for notice in refused:
        with pytest.raises(NoticeRefused):
            pair.bob.record_notice(*notice)
    assert pair.bob.counts().entitled == 1
    pair.bob.record_notice("m", ["s"], [even[0]], 256)
    assert pair.bob.counts().entitled == 1


def test_release_puts_back_and_withdraw_destroys(pair: Pair) -> None:
    ids = [key.key_id for key in pair.alice.reserve("m", ["s"], 3, 512)]
    pair.alice.release(ids)
    assert pair.alice.counts().ready_as_master == 20
    again = [key.key_id for key in pair.alice.reserve("m", ["s"], 3, 512)]
    assert again == ids
    pair.alice.withdraw(again)
    assert pair.alice.counts().withdrawn == 3
    with pytest.raises(KeyNotFound):
        pair.alice.deliver_master(again, "m")
    with pytest.raises(KeyNotFound):
        pair.alice.release(again)
    assert pair.alice.counts().ready_as_master == 14


def test_what_was_reserved_at_a_crash_is_withdrawn(pair: Pair) -> None:
    pair.alice.reserve("m", ["s"], 2, 256)
    pair.reopen()
    assert (pair.alice.counts().reserved, pair.alice.counts().withdrawn) == (0, 2)


def test_concurrent_consumers_never_get_the_same_key(pair: Pair) -> None:
    taken: list[str] = []

    def take() -> None:
        for _ in range(3):
            taken.extend(hand_over(pair, 1, 256))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 18
