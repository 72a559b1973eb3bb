"""What can go wrong with one instrument, on demand.

A `FaultSwitch` belongs to one device. The links to the device (transports) and the device itself look at it; the
control socket of the bench and the tests turn it. Faults of the light and of the fibre are not here: they are in the
world.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum


class FaultKind(StrEnum):
    """The faults every fake can show; the last three only where the device has such a part."""

    NONE = "none"
    SILENT = "silent"  # the link is open, nothing is answered and nothing is done
    GARBAGE = "garbage"  # answers of the right length, made of bytes that mean nothing
    HALF = "half"  # every answer stops in the middle
    LATE = "late"  # every answer comes `value` seconds late (1.5 s)
    DISCONNECT = "disconnect"  # unplugged: links break and cannot be opened again
    RESTART = "restart"  # power fails and returns after `value` seconds (0.5 s): settings are the power-on ones
    WRONG_IDENTITY = "wrong_identity"  # another device hangs at this address
    INTERLOCK = "interlock"  # the interlock opens; it latches until it is closed and cleared
    NO_SENSOR = "no_sensor"  # the sensor head is unplugged from its console
    OVERFLOW = "overflow"  # the device loses events and says so


DEFAULT_LATE_S = 1.5
DEFAULT_RESTART_S = 0.5
MOST_SECONDS = 600.0


class FaultSwitch:
    """The one active fault of a device. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kind = FaultKind.NONE
        self._value = 0.0
        self._down_until_s = 0.0
        self._on_change: list[Callable[[FaultKind], None]] = []

    @property
    def kind(self) -> FaultKind:
        """The active fault; RESTART ends by itself when the device is up again."""
        with self._lock:
            if self._kind is FaultKind.RESTART and time.monotonic() >= self._down_until_s:
                self._kind = FaultKind.NONE
            return self._kind

    @property
    def late_s(self) -> float:
        """Extra delay of every answer, seconds."""
        return self._value if self.kind is FaultKind.LATE else 0.0

    @property
    def is_reachable(self) -> bool:
        """False while no link can be opened."""
        return self.kind not in (FaultKind.DISCONNECT, FaultKind.RESTART)

    @property
    def is_wrong_identity(self) -> bool:
        return self.kind is FaultKind.WRONG_IDENTITY

    def watch(self, on_change: Callable[[FaultKind], None]) -> None:
        """Call `on_change(kind)` after every change, on the thread that made it."""
        with self._lock:
            self._on_change.append(on_change)

    def unwatch(self, on_change: Callable[[FaultKind], None]) -> None:
        """Undo `watch`. Nothing happens if it is not watching."""
        with self._lock:
            self._on_change = [listener for listener in self._on_change if listener != on_change]

    def set(self, kind: FaultKind, value: float | None = None) -> None:
        """Make `kind` the active fault. `value`: seconds for LATE and RESTART, 0 to 600; ignored otherwise."""
        seconds = {FaultKind.LATE: DEFAULT_LATE_S, FaultKind.RESTART: DEFAULT_RESTART_S}.get(kind, 0.0)
        if value is not None and kind in (FaultKind.LATE, FaultKind.RESTART):
            if not 0.0 <= value <= MOST_SECONDS:
                raise ValueError(f"fault {kind}: value {value!r} s is outside 0 to {MOST_SECONDS:.0f} s")
            seconds = float(value)
        with self._lock:
            self._kind, self._value = kind, seconds
            self._down_until_s = time.monotonic() + seconds
            listeners = tuple(self._on_change)
        for on_change in listeners:
            on_change(kind)


def garble(data: bytes) -> bytes:
    """Bytes that are no answer: high bit set everywhere, line ends kept so that readers do get something."""
    return bytes(b if b in b"\r\n\x17" else (b * 7 + 131) & 0xFF | 0x80 for b in data)


def first_half(data: bytes) -> bytes:
    """An answer that stops in the middle (of one byte nothing is left)."""
    return data[: len(data) // 2]
