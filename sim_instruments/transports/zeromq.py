"""ZeroMQ: request-reply for commands, PAIR for streams.

The command port is a ROUTER, which answers REQ clients as a REP socket would, yet is not stuck for ever when one
request stays unanswered (a silent device) or a client dies in between.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable

import zmq

from sim_instruments.instruments.base import Device
from sim_instruments.transports.link import Link, Unreachable

POLL_MS = 50
REBIND_S = 2.0
END_MS = 200  # how long the last messages may take to go out


class ZmqReplyServer:
    """Serves one port of a device at a ZeroMQ `endpoint` ("tcp://127.0.0.1:5555"); unbound while it is unplugged."""

    def __init__(self, device: Device, port_name: str, endpoint: str) -> None:
        self._device = device
        self._port_name = port_name
        self._endpoint = endpoint
        self._is_running = True
        self._ready = threading.Event()
        self._failure: zmq.ZMQError | None = None
        self._thread = threading.Thread(target=self._run, name=f"{device.name}:{port_name}", daemon=True)
        self._thread.start()
        if not self._ready.wait(timeout=5.0) or self._failure is not None:
            raise OSError(f"{endpoint}: cannot be opened: {self._failure or 'no answer within 5 s'}")

    def close(self) -> None:
        """Unbind and end the thread."""
        self._is_running = False
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        idle = threading.Event()
        while self._is_running:
            if self._device.faults.is_reachable:
                try:
                    self._serve()
                except zmq.ZMQError as error:
                    self._failure = error
            self._ready.set()
            idle.wait(POLL_MS / 1000)

    def _serve(self) -> None:
        router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        try:
            router.bind(self._endpoint)
            self._ready.set()
            links: dict[bytes, _Peer] = {}
            while self._is_running and self._device.faults.is_reachable:
                for peer in links.values():
                    peer.flush()
                if router.poll(POLL_MS):
                    self._receive(router, links)
        finally:
            router.close()

    def _receive(self, router: zmq.Socket[bytes], peers: dict[bytes, _Peer]) -> None:
        parts = router.recv_multipart()
        if len(parts) != 3 or parts[1]:
            return  # not from a REQ socket: one identity, one empty delimiter, one body
        identity, _, body = parts
        if identity not in peers:
            try:
                peers[identity] = _Peer(self._device, self._port_name, router, identity)
            except Unreachable:
                return
        peers[identity].link.receive(body)
        peers[identity].flush()


class _Peer:
    """One REQ client. Replies are queued and sent by the socket's own thread (sockets are not thread-safe)."""

    def __init__(self, device: Device, port_name: str, router: zmq.Socket[bytes], identity: bytes) -> None:
        self._router = router
        self._identity = identity
        self._queue: list[bytes] = []
        self._lock = threading.Lock()
        self.link = Link(device, port_name, self._queue_reply, lambda: None)

    def _queue_reply(self, data: bytes) -> None:
        with self._lock:
            self._queue.append(data)

    def flush(self) -> None:
        with self._lock:
            replies, self._queue = self._queue, []
        for reply in replies:
            self._router.send_multipart([self._identity, b"", reply])


class PairStream:
    """Server end of one ZeroMQ PAIR stream. Holds two messages at most: a slow reader blocks the writer.

    `send` and `close` may come from different threads.
    """

    def __init__(self, endpoint: str) -> None:
        self._lock = threading.Lock()
        self._is_open = True
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        self._socket.setsockopt(zmq.SNDHWM, 2)
        self._socket.setsockopt(zmq.SNDBUF, 1 << 20)
        try:
            self._bind(endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            raise OSError(f"{endpoint}: cannot be opened: {error}") from error

    def _bind(self, endpoint: str) -> None:
        """A port is free only some time after the stream before it was closed: ZeroMQ closes in the background."""
        deadline = time.monotonic() + REBIND_S
        while True:
            try:
                self._socket.bind(endpoint)
            except zmq.ZMQError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def send(self, message: bytes | memoryview, should_stop: Callable[[], bool]) -> bool:
        """Send when there is room; False if `should_stop()` or `close` came first. Do not change `message` later."""
        while True:
            is_last_try = should_stop()
            with self._lock:
                if not self._is_open:
                    return False
                if self._socket.poll(0 if is_last_try else POLL_MS, zmq.POLLOUT):
                    self._socket.send(message, copy=False)
                    return True
            if is_last_try:
                return False

    def close(self) -> None:
        """Send the empty message that ends a stream and close. Idempotent.

        Without a reader, or with one that is stuck, nothing is sent any more: the next reader must not find old tags.
        """
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            has_reader = bool(self._socket.poll(0, zmq.POLLOUT))
            if has_reader:
                self._socket.send(b"")
            self._socket.close(linger=END_MS if has_reader else 0)
