"""The classical channel: one TCP connection under TLS 1.3, both certificates pinned, two kinds of frames.

Frame: 4 bytes length of the payload (big-endian), 1 byte kind ('R' a message of a round, 'C' a control message), 8
bytes number of the round (0 for control messages), payload. The number only sorts out what belongs to a round that
was given up; the transcript has its own. TLS gives order and a shield against draining the authentication pools. No
claim of a key rests on it (protocol §1).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from controller import peer_messages
from controller.errors import ConfigurationError, PeerFailure
from controller.frame_queue import FrameQueue
from controller.peer_messages import Control, ControlMessage
from postproc.messages import MAX_MESSAGE_BYTES

ROUND, CONTROL = b"R", b"C"
HEADER_BYTES = 13
ROUND_BUDGET_BYTES = 2 * MAX_MESSAGE_BYTES
CONTROL_MESSAGES = 64


def tls_context(*, is_server: bool, certificate: Path, key: Path, peer_certificate: Path) -> ssl.SSLContext:
    """TLS 1.3 only, mutual, trusting exactly one certificate: the peer's own. Raises ConfigurationError with the
    file's name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(peer_certificate)
        trusted = context.cert_store_stats()["x509"]
        if trusted != 1:
            raise ConfigurationError(
                f"{peer_certificate} holds {trusted} certificates; exactly one peer is pinned",
                remedy="put the peer's own certificate there, and nothing else",
            )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"TLS files {certificate}, {key}, {peer_certificate} cannot be used: {error}",
            remedy="make them with `qkd trust psk` on one node and carry them over together",
        ) from error
    return context


class PeerLink:
    """One connection. Incoming frames are sorted into two bounded queues; a full queue holds the peer back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silence_limit_s: float) -> None:
        self._silence_limit_s = silence_limit_s
        self._reader = reader
        self._writer = writer
        self._write_lock = asyncio.Lock()
        self.rounds = FrameQueue(ROUND_BUDGET_BYTES)
        self.controls: asyncio.Queue[ControlMessage] = asyncio.Queue(CONTROL_MESSAGES)
        self.bytes_sent = 0
        self.bytes_received = 0

    async def send_round(self, number: int, payload: bytes) -> None:
        """Send the bytes of a message of the round with this number."""
        await self._send(ROUND, number, payload)

    async def send(self, message: Control) -> bytes:
        """Send a control message; returns its bytes, for the prelude."""
        payload = peer_messages.encode(message)
        await self._send(CONTROL, 0, payload)
        return payload

    async def _send(self, kind: bytes, number: int, payload: bytes) -> None:
        async with self._write_lock:
            try:
                self._writer.write(len(payload).to_bytes(4, "big") + kind + number.to_bytes(8, "big"))
                self._writer.write(payload)
                await self._writer.drain()
            except (OSError, ssl.SSLError) as error:
                raise PeerFailure(f"the connection to the peer broke while sending: {error}") from error
        self.bytes_sent += HEADER_BYTES + len(payload)

    async def pump(self) -> None:
        """Read frames until the connection ends; always raises PeerFailure in the end."""
        while True:
            try:
                header = await asyncio.wait_for(self._reader.readexactly(HEADER_BYTES), self._silence_limit_s)
                length, kind = int.from_bytes(header[:4], "big"), header[4:5]
                limit = MAX_MESSAGE_BYTES if kind == ROUND else peer_messages.MAX_CONTROL_BYTES
                if kind not in (ROUND, CONTROL) or length > limit:
                    raise PeerFailure(f"frame of kind {kind!r} and {length} bytes: not this protocol")
                payload = await asyncio.wait_for(self._reader.readexactly(length), self._silence_limit_s)
            except TimeoutError as error:
                raise PeerFailure(f"the peer was silent for {self._silence_limit_s:g} s") from error
            except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
                raise PeerFailure(f"the connection to the peer ended: {error}") from error
            self.bytes_received += HEADER_BYTES + length
            if kind == ROUND:
                await self.rounds.put(int.from_bytes(header[5:], "big"), payload)
            else:
                await self.controls.put(peer_messages.decode(payload))

    async def close(self) -> None:
        """Close; errors on the way out are of no consequence because nothing more is expected from the connection."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), 2.0)
        except (OSError, ssl.SSLError, TimeoutError):
            self._writer.transport.abort()


@asynccontextmanager
async def connect(host: str, port: int, context: ssl.SSLContext, silence_limit_s: float) -> AsyncIterator[PeerLink]:
    """Open the connection from our side. Raises PeerFailure when nobody listens or the certificate is not the pinned
    one.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="")
    except ssl.SSLError as error:
        raise PeerFailure(f"{host}:{port} is not the pinned peer: {error}") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise PeerFailure(f"nobody answers at {host}:{port} ({reason})") from error
    link = PeerLink(reader, writer, silence_limit_s)
    try:
        yield link
    finally:
        await link.close()


class PeerListener:
    """Accepts one connection at a time; a further one while one is served is closed at once."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, silence_limit_s: float) -> None:
        self._host, self._port, self._context = host, port, context
        self._silence_limit_s = silence_limit_s
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Queue[PeerLink] = asyncio.Queue(1)
        self._is_busy = False

    async def start(self) -> None:
        """Bind. Raises ConfigurationError when the address is taken or not ours."""
        try:
            self._server = await asyncio.start_server(self._accept, self._host, self._port, ssl=self._context)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {self._host}:{self._port}: {error}") from error

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_busy or self._waiting.full():
            writer.close()
            return
        await self._waiting.put(PeerLink(reader, writer, self._silence_limit_s))

    @asynccontextmanager
    async def next_link(self) -> AsyncIterator[PeerLink]:
        """The next peer that proves the pinned certificate."""
        link = await self._waiting.get()
        self._is_busy = True
        try:
            yield link
        finally:
            self._is_busy = False
            await link.close()

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
