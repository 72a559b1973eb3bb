"""Key delivery of a running node: the KME for the consumers, and its notices over whatever connection there is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from controller.config import NodeConfig
from controller.keys.errors import NoticeNotSent
from controller.keys.kme_server import serve_kme
from controller.keys.kme_settings import KmeSettings
from controller.keys.notice_exchange import NoticeExchange
from controller.keys.store import NodeStore
from controller.peer import PeerLink
from controller.peer_messages import Notice


def kme_settings(config: NodeConfig, workspace: Path) -> KmeSettings:
    """[kme] as the server takes it."""
    kme = config.kme
    host, _, port = kme.listen.rpartition(":")
    return KmeSettings(
        kme_id=kme.id,
        peer_kme_id=kme.peer_id,
        host=host,
        port=int(port),
        certificate=workspace / kme.certificate,
        private_key=workspace / kme.private_key,
        client_ca=workspace / kme.client_ca,
        saes=kme.saes,
        peer_saes=kme.peer_saes,
        key_size_bits=kme.key_size_bits,
        max_keys_per_request=kme.max_keys_per_request,
    )


class Delivery:
    """Consumers are served all the time; without a connection to the peer they are told that no key can be had now
    (503).
    """

    def __init__(self, store: NodeStore) -> None:
        self._store = store
        self._link: PeerLink | None = None
        self._exchange = NoticeExchange(store, self._send, lambda: self._link is not None)

    def attach(self, link: PeerLink) -> None:
        """Notices may go over this connection from now on."""
        self._link = link

    def detach(self) -> None:
        """The connection is gone."""
        self._link = None

    async def receive(self, notice: Notice) -> None:
        """A notice of the peer, or its acknowledgement of ours. Raises what ends the connection
        (controller.keys.notice_exchange).
        """
        await self._exchange.received(notice.payload)

    @contextlib.asynccontextmanager
    async def serve(self, config: NodeConfig, workspace: Path) -> AsyncIterator[None]:
        """The KME, for as long as the context lasts."""
        async with serve_kme(kme_settings(config, workspace), self._store, self._exchange.notify):
            yield

    async def _send(self, payload: bytes) -> None:
        link = self._link
        if link is None:
            raise NoticeNotSent("there is no connection to the peer", remedy="wait for the nodes to find each other")
        await link.send(Notice(payload))
