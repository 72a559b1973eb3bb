"""Serves the key delivery interface over TLS 1.3 with client certificates, inside the node's event loop.

uvicorn verifies the client's certificate and keeps it to itself; `CertificateProtocol` puts it into the connection's
state, where the application finds it. This hook is internal to uvicorn: tests/controller/test_kme_server.py fails if
an upgrade moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from controller.errors import ConfigurationError
from controller.keys.etsi014 import Notify, make_app
from controller.keys.kme_settings import KmeSettings
from controller.keys.store import NodeStore

_MAX_CONNECTIONS = 256
_KEEP_ALIVE_S = 30
_STOP_S = 5


class CertificateProtocol(H11Protocol):
    """HTTP/1.1 over TLS that tells the application who the client is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "peercert": transport.get_extra_info("peercert")}


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the node."""
        yield


def _tls(settings: KmeSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(settings.certificate, settings.private_key)
        context.load_verify_locations(settings.client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"KME {settings.kme_id}: {settings.certificate}, {settings.private_key} or {settings.client_ca}: {error}",
            remedy="make certificates for key delivery",
        ) from error
    return context


def _listen(settings: KmeSettings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.port), backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"KME {settings.kme_id}: cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            remedy="is another node running? choose another port",
        ) from error


@contextlib.asynccontextmanager
async def serve_kme(settings: KmeSettings, store: NodeStore, notify: Notify) -> AsyncIterator[int]:
    """Serve until the context ends; yields the port. Raises ConfigurationError for certificates or an address that do
    not work.

    `notify` returns when the peer has durably acknowledged a notice; it raises NoticeNotSent if the notice certainly
    did not leave.
    """
    context, listener = _tls(settings), _listen(settings)
    config = uvicorn.Config(
        make_app(settings, store, notify),
        http=CertificateProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        proxy_headers=False,
    )
    config.load()
    config.ssl = context
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="kme")
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()
