"""ZeroMQ request-reply as a `ByteLink`: one message out, one message back.

A REQ socket must receive before it may send again. After a timeout the socket is therefore thrown away and made anew,
which also makes sure that the late reply reaches nobody. ZeroMQ does not say that nobody listens: a plain TCP
connection is tried for that, at opening and after every timeout.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import zmq

from drivers.byte_link import OPEN_TIMEOUT_S, WRITE_TIMEOUT_S
from drivers.errors import ConnectionLost, GarbledReply, InstrumentTimeout
from drivers.links import parse_resource

_PROBE_TIMEOUT_S = 1.0


def endpoint_of(resource: str, *, instrument: str) -> str:
    """`tcp://host:port` of a resource string `zmq:tcp://host:port`. Raises ConnectionLost if it is none."""
    parsed = parse_resource(resource, instrument=instrument)
    if parsed.kind != "zmq":
        raise ConnectionLost(
            f"resource {resource!r} is no ZeroMQ endpoint", instrument=instrument, remedy="zmq:tcp://HOST:PORT"
        )
    return parsed.address


def host_of(endpoint: str, *, instrument: str) -> str:
    """Host of `tcp://host:port`. Raises ConnectionLost if it is not of that form."""
    try:
        parts = urlsplit(endpoint)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            raise ValueError("tcp://HOST:PORT was expected")
    except ValueError as error:
        raise ConnectionLost(
            f"endpoint {endpoint!r} cannot be used: {error}", instrument=instrument, remedy="zmq:tcp://HOST:PORT"
        ) from error
    return parts.hostname


class RequestLink:
    """A REQ socket. Messages leave without the terminator; replies come back with it, so that lines can be read."""

    def __init__(self, endpoint: str, *, instrument: str, max_reply_bytes: int = 1 << 20) -> None:
        self._endpoint = endpoint
        self._instrument = instrument
        self._max_reply_bytes = max_reply_bytes
        self._is_waiting = False
        self._is_closed = False
        host_of(endpoint, instrument=instrument)
        self._probe(OPEN_TIMEOUT_S)
        self._socket = self._connected()

    def write(self, data: bytes) -> None:
        """Send one message; a line end at its end is taken off."""
        self._check_open()
        if self._is_waiting:
            self._renew()
        if not self._socket.poll(int(WRITE_TIMEOUT_S * 1000), zmq.POLLOUT):
            raise ConnectionLost(
                f"{self._endpoint} takes no message", instrument=self._instrument, remedy="check power and network"
            )
        self._socket.send(data.rstrip(b"\r\n"))
        self._is_waiting = True

    def read_until(self, terminator: bytes, timeout_s: float, max_bytes: int = 65_536) -> bytes:
        """The reply message, its line ends replaced by one terminator."""
        self._check_open()
        if not self._socket.poll(int(timeout_s * 1000)):
            self._renew()
            self._probe(_PROBE_TIMEOUT_S)
            raise InstrumentTimeout(
                f"no reply from {self._endpoint} within {timeout_s:g} s",
                instrument=self._instrument,
                remedy="check that it is switched on and not in use by another program",
            )
        parts = self._socket.recv_multipart()
        self._is_waiting = False
        if len(parts) != 1 or len(parts[0]) > max_bytes:
            raise GarbledReply(
                f"reply from {self._endpoint}: {len(parts)} parts, {sum(map(len, parts))} bytes",
                instrument=self._instrument,
                remedy="check address and model",
            )
        return parts[0].rstrip(b"\r\n") + terminator

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        """One reply message, which must have exactly `n` bytes."""
        reply = self.read_until(b"", timeout_s, n)
        if len(reply) != n:
            raise GarbledReply(f"reply has {len(reply)} bytes, expected {n}", instrument=self._instrument)
        return reply

    def drain(self) -> bytes:
        """Nothing comes that was not asked for: b""."""
        self._check_open()
        return b""

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._socket.close(linger=0)

    def _connected(self) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.MAXMSGSIZE, self._max_reply_bytes)
        made.connect(self._endpoint)
        return made

    def _renew(self) -> None:
        self._socket.close(linger=0)
        self._socket = self._connected()
        self._is_waiting = False

    def _probe(self, timeout_s: float) -> None:
        parts = urlsplit(self._endpoint)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=timeout_s).close()
        except OSError as error:
            raise ConnectionLost(
                f"nobody listens at {self._endpoint}: {error}",
                instrument=self._instrument,
                remedy="check that it is switched on, its address, and the network",
            ) from error

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionLost(
                f"{self._endpoint} is closed", instrument=self._instrument, remedy="open the instrument again"
            )
