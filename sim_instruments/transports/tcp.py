"""TCP server for one port of a device: a thread per client, blocking sends; a slow reader holds the device back."""

from __future__ import annotations

import socket
import threading

from sim_instruments.instruments.base import Device
from sim_instruments.transports.link import Link, Unreachable

CHUNK_BYTES = 1 << 18


class TcpServer:
    """Listens on `host`:`port` (0: any free one, see `.port`) until `close`. An unplugged device accepts nobody."""

    def __init__(self, device: Device, port_name: str, host: str, port: int) -> None:
        self._device = device
        self._port_name = port_name
        self._listener = socket.create_server((host, port), reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name=f"{device.name}:{port_name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and hang up on every client."""
        _shut(self._listener)
        with self._lock:
            clients = tuple(self._clients)
        for client in clients:
            _shut(client)
        self._thread.join(timeout=2.0)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(
                target=self._serve, args=(client,), name=f"{self._device.name}:client", daemon=True
            ).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.add(client)
        sending = threading.Lock()

        def send(data: bytes) -> None:
            try:
                with sending:
                    client.sendall(data)
            except OSError:
                _shut(client)

        try:
            link = Link(self._device, self._port_name, send, lambda: _shut(client))
        except Unreachable:
            self._forget(client)
            return
        try:
            while data := client.recv(CHUNK_BYTES):
                link.receive(data)
        except OSError:
            return  # the client is gone, or the cable was pulled
        finally:
            link.close()
            self._forget(client)

    def _forget(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.discard(client)
        client.close()


def _shut(sock: socket.socket) -> None:
    """Wake whoever waits on `sock`; its owner closes it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        sock.close()  # a socket that was never connected, or is already down
