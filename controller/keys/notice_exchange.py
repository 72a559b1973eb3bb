"""Sends delivery notices in batches and waits for their acknowledgement; records and acknowledges those of the peer.

Requests that come while a batch is on its way are sent together in the next one. Burning a pad and sending are one
step under a lock, so pads arrive in the order of their positions; without a connection nothing is burnt, so consumers
who keep asking cannot use up the pool. A notice that is not acknowledged in time counts as
unknown: its keys must be withdrawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from controller.errors import PeerFailure, QkdError
from controller.keys.errors import NoticeNotSent, NoticeRefused
from controller.keys.notices import (
    MAX_BATCH,
    Body,
    DeliveryNotice,
    NoticeAcknowledgement,
    NoticeBatch,
    acknowledge,
    batch_digest,
    sign,
    verify,
)
from controller.keys.store import NodeStore

Send = Callable[[bytes], Awaitable[None]]
IsConnected = Callable[[], bool]


class NoticeExchange:
    """One node's end. `notify` is what the KME calls; `received` takes every notice payload of the peer.

    `send` transmits one payload over the present connection; it raises NoticeNotSent if there is none.
    """

    def __init__(self, store: NodeStore, send: Send, is_connected: IsConnected, *, timeout_s: float = 10.0) -> None:
        self._store = store
        self._send = send
        self._is_connected = is_connected
        self._timeout_s = timeout_s
        self._waiting: list[tuple[DeliveryNotice, asyncio.Future[bool]]] = []
        self._turn = asyncio.Lock()  # one batch at a time
        self._wire = asyncio.Lock()  # burn and send in one step
        self._expected: tuple[bytes, asyncio.Future[NoticeAcknowledgement]] | None = None

    async def notify(self, notice: DeliveryNotice) -> None:
        """Returns when the peer has durably recorded the notice.

        Raises NoticeNotSent if it certainly did not leave, NoticeRefused if the peer declined it, PeerFailure if
        nobody knows.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((notice, future))
        try:
            async with self._turn:
                if not future.done():
                    await self._send_batch()
        except asyncio.CancelledError:
            future.cancel()
            raise
        if not future.result():
            raise NoticeRefused("the peer's key store declined the delivery notice", remedy="resynchronise the nodes")

    async def received(self, payload: bytes) -> None:
        """Take one payload of the peer. Raises NoticeRefused, PadRefused, PoolStarved, AuthenticationFailed: stop the
        connection then.
        """
        body = await asyncio.to_thread(verify, self._store, payload)
        if isinstance(body, NoticeBatch):
            await self._transmit(await asyncio.to_thread(acknowledge, self._store, body))
        elif self._expected is not None and body.batch_sha256 == self._expected[0] and not self._expected[1].done():
            self._expected[1].set_result(body)

    async def _send_batch(self) -> None:
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        try:
            accepted = await self._exchange(NoticeBatch(tuple(notice for notice, _ in batch)))
        except QkdError as error:
            _fail(batch, error)
        except BaseException:  # this sender was cancelled or broke: the others of its batch must hear of it
            _fail(batch, PeerFailure("sending a delivery notice was interrupted"))
            raise
        else:
            for (_, future), is_accepted in zip(batch, accepted, strict=True):
                if not future.done():
                    future.set_result(is_accepted)

    async def _exchange(self, batch: NoticeBatch) -> tuple[bool, ...]:
        answer: asyncio.Future[NoticeAcknowledgement] = asyncio.get_running_loop().create_future()
        self._expected = (batch_digest(batch), answer)
        try:
            await self._transmit(batch)
            acknowledgement = await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError as error:
            raise PeerFailure(f"no acknowledgement of a delivery notice within {self._timeout_s} s") from error
        finally:
            self._expected = None
        if len(acknowledgement.accepted) != len(batch.notices):
            raise PeerFailure("the acknowledgement of delivery notices has a wrong length")
        return acknowledgement.accepted

    async def _transmit(self, body: Body) -> None:
        async with self._wire:
            if not self._is_connected():
                raise NoticeNotSent(
                    "there is no connection to the peer", remedy="wait for the nodes to find each other"
                )
            try:
                payload = await asyncio.to_thread(sign, self._store, body)
            except QkdError as error:
                raise NoticeNotSent(f"delivery notice: {error}") from error
            await self._send(payload)


def _fail(batch: list[tuple[DeliveryNotice, asyncio.Future[bool]]], error: QkdError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
