"""One plugged-in cable: carries bytes between transport and conversation; the device's fault acts on them here."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sim_instruments.faults import FaultKind, first_half, garble
from sim_instruments.instruments.base import Device


class Unreachable(Exception):
    """The device is unplugged or without power."""


class Link:
    """`send` carries bytes to the client, `hang_up` breaks the client's connection; both are the transport's.

    Raises Unreachable when the device cannot be opened now.
    """

    def __init__(self, device: Device, port: str, send: Callable[[bytes], None], hang_up: Callable[[], None]) -> None:
        if not device.faults.is_reachable:
            raise Unreachable(f"{device.name} is unplugged")
        self._device = device
        self._send = send
        self._hang_up = hang_up
        self._is_open = True
        self._lock = threading.Lock()
        self._conversation = device.ports[port](self._transmit)
        device.faults.watch(self._fault_changed)

    def receive(self, data: bytes) -> None:
        """Bytes from the client. A silent device does nothing with them."""
        if self._is_open and self._device.faults.kind is not FaultKind.SILENT:
            self._conversation.feed(data)

    def close(self) -> None:
        """The client has gone. Idempotent."""
        with self._lock:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._device.faults.unwatch(self._fault_changed)
            self._conversation.close()

    def _transmit(self, data: bytes) -> None:
        faults = self._device.faults
        kind = faults.kind
        if kind is FaultKind.SILENT:
            return
        if kind is FaultKind.GARBAGE:
            self._deliver(garble(data))
        elif kind is FaultKind.HALF:
            self._deliver(first_half(data))
        elif kind is FaultKind.LATE:
            timer = threading.Timer(faults.late_s, self._deliver, (data,))
            timer.daemon = True
            timer.start()
        else:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        if self._is_open:
            self._send(data)

    def _fault_changed(self, kind: FaultKind) -> None:
        if kind in (FaultKind.DISCONNECT, FaultKind.RESTART):
            self.close()
            self._hang_up()
