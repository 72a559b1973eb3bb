"""Delivery notices between two stores without HTTP: batches, cancellations, starvation, answers that do not fit."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import PeerFailure
from controller.keys.errors import NoticeNotSent, NoticeRefused
from controller.keys.notices import DeliveryNotice, NoticeAcknowledgement, NoticeBatch, sign, verify
from controller.trust.errors import AuthenticationFailed, PadRefused
from tests.controller.kme_pair import Wire
from tests.controller.stores import SMALL, Pair, make_pair


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = make_pair(tmp_path)
    pair.commit(0, secrets.token_bytes(32 * 60))
    yield pair
    pair.close()


def reserve(pair: Pair, count: int = 1) -> list[DeliveryNotice]:
    keys = pair.alice.reserve("m", ["s"], count, 256)
    return [DeliveryNotice("m", ("s",), (key.key_id,), 256) for key in keys]


def test_requests_that_wait_go_together(pair: Pair) -> None:
    async def all_at_once() -> int:
        wire = Wire(pair)
        await asyncio.gather(*(wire.ends["alice"].notify(notice) for notice in reserve(pair, 20)))
        return len(wire.payloads)

    assert asyncio.run(all_at_once()) <= 4  # two batches and their acknowledgements
    assert pair.bob.counts().entitled == 20
    assert pair.alice.consumed_by_region()["notice"] <= 4 * 256


def test_a_cancelled_request_does_not_strand_the_others(pair: Pair) -> None:
    async def cancel_the_first() -> list[object]:
        wire = Wire(pair)
        tasks = [asyncio.create_task(wire.ends["alice"].notify(notice)) for notice in reserve(pair, 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    first, *others = asyncio.run(cancel_the_first())
    assert isinstance(first, asyncio.CancelledError)
    assert all(other is None or isinstance(other, PeerFailure) for other in others)


def test_one_refused_notice_does_not_refuse_its_batch(pair: Pair) -> None:
    good, bad = reserve(pair, 2)
    pair.bob.record_notice("other", ["s"], bad.key_ids, 256)

    async def both() -> list[object]:
        end = Wire(pair).ends["alice"]
        return await asyncio.gather(end.notify(good), end.notify(bad), return_exceptions=True)

    fine, refused = asyncio.run(both())
    assert fine is None
    assert isinstance(refused, NoticeRefused)


def test_without_pads_nothing_is_sent(pair: Pair) -> None:
    pair.alice.burn("notice", "ab", SMALL.notice_bytes - 31)

    async def notify() -> list[bytes]:
        wire = Wire(pair)
        with pytest.raises(NoticeNotSent, match="notice/ab"):
            await wire.ends["alice"].notify(reserve(pair)[0])
        return wire.payloads

    assert asyncio.run(notify()) == []


def test_an_acknowledgement_of_another_batch_is_ignored(pair: Pair) -> None:
    async def notify() -> None:
        wire = Wire(pair)
        wire.tamper = lambda payload: sign(pair.alice, NoticeBatch((notice,))) if len(wire.payloads) == 1 else None
        (notice,) = reserve(pair)
        task = asyncio.create_task(wire.ends["alice"].notify(notice))
        await asyncio.sleep(0.1)
        await wire.ends["alice"].received(sign(pair.bob, NoticeAcknowledgement(bytes(32), (True,))))
        await task

    with pytest.raises(PeerFailure, match="no acknowledgement"):
        asyncio.run(notify())


def test_each_message_verifies_once_and_only_at_the_other_node(pair: Pair) -> None:
    (notice,) = reserve(pair)
    payload = sign(pair.alice, NoticeBatch((notice,)))
    with pytest.raises(AuthenticationFailed):
        verify(pair.alice, payload)
    assert verify(pair.bob, payload) == NoticeBatch((notice,))
    with pytest.raises(PadRefused, match="position 0 is outside"):
        verify(pair.bob, payload)


@pytest.mark.parametrize("position", range(0, 150, 7))
def test_any_changed_byte_is_refused(pair: Pair, position: int) -> None:
    payload = bytearray(sign(pair.alice, NoticeBatch(tuple(reserve(pair)))))
    payload[position % len(payload)] ^= 0x41
    with pytest.raises((AuthenticationFailed, NoticeRefused, PadRefused)):
        verify(pair.bob, bytes(payload))


def test_without_a_connection_nothing_is_burnt(pair: Pair) -> None:
    """Consumers who kept asking while the peer was away used up the pool, out of the peer's reach."""

    async def ask(times: int) -> None:
        wire = Wire(pair)
        wire.is_up = False
        for notice in reserve(pair, times):
            with pytest.raises(NoticeNotSent):
                await wire.ends["alice"].notify(notice)

    asyncio.run(ask(20))
    assert pair.alice.next_offset("notice", "ab") == 0
