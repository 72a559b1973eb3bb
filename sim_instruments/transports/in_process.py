"""Where the in-process routes look a device up by name: `twin://NAME` for pyserial, `...@twin` for pyvisa.

A driver is handed nothing but a resource string, so the two libraries need a table from strings to devices. Tests put
their devices in with `plugged`, under names of their own, and take them out again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sim_instruments.instruments.base import Device
from sim_instruments.transports.link import Link

_SOCKETS: dict[str, tuple[str, Device, str]] = {}  # by name in upper case: the name as given, device, port


@contextmanager
def plugged(sockets: Mapping[str, tuple[Device, str]]) -> Iterator[None]:
    """While the block runs, each name leads to (device, port). A name is a twin:// name or a full VISA resource."""
    install()
    taken = sorted(_key(name) for name in sockets if _key(name) in _SOCKETS)
    if taken:
        raise ValueError(f"in-process names already in use: {', '.join(taken)}")
    _SOCKETS.update({_key(name): (name, *socket) for name, socket in sockets.items()})
    try:
        yield
    finally:
        for name in sockets:
            del _SOCKETS[_key(name)]


def find(name: str) -> tuple[Device, str]:
    """Device and port plugged in under `name`. Raises KeyError."""
    return _SOCKETS[_key(name)][1:]


def names() -> tuple[str, ...]:
    """Everything that is plugged in."""
    return tuple(name for name, _, _ in _SOCKETS.values())


def _key(name: str) -> str:
    """VISA resource names do not tell cases apart."""
    return name.upper()


def install() -> None:
    """Make pyserial know `twin://` and, where pyvisa-sim is installed, pyvisa the backend `@twin`. Idempotent."""
    import importlib.util
    import sys

    import serial

    package = "sim_instruments.transports"
    if package not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(package)
    if importlib.util.find_spec("pyvisa_sim") is not None:
        from sim_instruments.transports import visa_backend

        sys.modules.setdefault("pyvisa_twin", visa_backend)  # pyvisa imports "pyvisa_" + what follows the @


class InProcessLine:
    """Both directions of one in-process link, with a receive buffer that can be waited for.

    Raises link.Unreachable when the device is unplugged, KeyError when nothing is plugged in under `name`.
    """

    def __init__(self, name: str) -> None:
        device, port = find(name)
        self.device = device
        self._buffer = bytearray()
        self._changed = threading.Condition()
        self.is_broken = False
        self._link = Link(device, port, self._arrive, self._break)

    def _arrive(self, data: bytes) -> None:
        with self._changed:
            self._buffer += data
            self._changed.notify_all()

    def _break(self) -> None:
        with self._changed:
            self.is_broken = True
            self._changed.notify_all()

    def write(self, data: bytes) -> None:
        self._link.receive(data)

    def read(self, most: int, timeout_s: float | None, until: bytes = b"", *, is_exact: bool = False) -> bytes:
        """Up to `most` bytes. Waits for one byte, for `most` if `is_exact`, or for `until`; else what came by then.

        `timeout_s` None waits for ever.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._is_enough(most, until, is_exact) and not self.is_broken:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            end = self._buffer.find(until) + len(until) if until and until in self._buffer else most
            taken = bytes(memoryview(self._buffer)[: min(end, most)])
            del self._buffer[: len(taken)]
            return taken

    def _is_enough(self, most: int, until: bytes, is_exact: bool) -> bool:
        if until and until in self._buffer:
            return True
        return len(self._buffer) >= (most if is_exact else 1)

    @property
    def waiting(self) -> int:
        """Bytes ready to be read."""
        return len(self._buffer)

    def clear(self) -> None:
        """Throw away what has arrived."""
        with self._changed:
            self._buffer.clear()

    def close(self) -> None:
        self._link.close()
