"""What a driver sees of its instrument: bytes out, bytes in, with limits. One reader for all transports.

After a timeout or an over-long reply the link is out of step: what comes in later belongs to an old question. The next
`write` then first waits until the line has been quiet for `QUIET_S` and throws away what came, so that a late reply is
not taken for the next answer.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from drivers.errors import ConnectionLost, GarbledReply, InstrumentTimeout

DEFAULT_BAUD = 115_200
OPEN_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 5.0
QUIET_S = 0.1  # silence that counts as "nothing is under way any more"
SETTLE_LIMIT_S = 2.0  # an instrument that talks longer than this without being asked is garbage
CHUNK_BYTES = 1 << 20
SLICE_S = 0.1  # longest uninterruptible wait, so that a hang-up is noticed early
_SHOWN_BYTES = 60


@runtime_checkable
class ByteLink(Protocol):
    """What a driver may do with its instrument. All calls block; one thread at a time.

    Raises ConnectionLost (hang-up, unplugged), InstrumentTimeout (nothing in time), GarbledReply (too long).
    """

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def read_until(self, terminator: bytes, timeout_s: float, max_bytes: int = 65_536) -> bytes:
        """The bytes up to and including `terminator`; at most `max_bytes` of them."""

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        """Exactly `n` bytes, whatever their values."""

    def drain(self) -> bytes:
        """Take, without waiting, whatever has come in and was not read."""

    def close(self) -> None:
        """Idempotent."""


class BufferedLink(ABC):
    """Framing, deadlines and resynchronisation; a transport adds `_send`, `_receive` and `_shut`."""

    def __init__(self, instrument: str, where: str) -> None:
        self.instrument = instrument
        self.where = where
        self._buffer = bytearray()
        self._is_out_of_step = False
        self._is_closed = False

    @abstractmethod
    def _send(self, data: bytes) -> None: ...

    @abstractmethod
    def _receive(self, max_bytes: int, timeout_s: float, last_byte: int | None) -> bytes:
        """Some bytes, or b"" after `timeout_s`. `last_byte`: where the wanted piece ends, if that is known."""

    @abstractmethod
    def _shut(self) -> None: ...

    def write(self, data: bytes) -> None:
        self._check_open()
        if self._is_out_of_step:
            self.settle()
        self._send(data)

    def read_until(self, terminator: bytes, timeout_s: float, max_bytes: int = 65_536) -> bytes:
        self._check_open()
        deadline = time.monotonic() + timeout_s
        searched = 0
        while (at := self._buffer.find(terminator, searched)) < 0:
            if len(self._buffer) >= max_bytes:
                raise self._too_long(max_bytes)
            searched = max(0, len(self._buffer) - len(terminator) + 1)
            self._fill(max_bytes - len(self._buffer), deadline, timeout_s, terminator[-1])
        if at + len(terminator) > max_bytes:
            raise self._too_long(max_bytes)
        return self._take(at + len(terminator))

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        self._check_open()
        deadline = time.monotonic() + timeout_s
        while len(self._buffer) < n:
            self._fill(n - len(self._buffer), deadline, timeout_s, None)
        return self._take(n)

    def drain(self) -> bytes:
        self._check_open()
        while piece := self._receive(CHUNK_BYTES, 0.0, None):
            self._buffer += piece
            if len(self._buffer) > 16 * CHUNK_BYTES:
                raise self._too_long(16 * CHUNK_BYTES)
        return self._take(len(self._buffer))

    def settle(self) -> None:
        """Throw away input until the line has been quiet for QUIET_S. Raises GarbledReply if it never is."""
        self._buffer.clear()
        limit = time.monotonic() + SETTLE_LIMIT_S
        while self._receive(CHUNK_BYTES, QUIET_S, None):
            if time.monotonic() > limit:
                raise GarbledReply(
                    f"{self.where} keeps sending without being asked",
                    instrument=self.instrument,
                    remedy="power-cycle it",
                )
        self._is_out_of_step = False

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._shut()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionLost(
                f"{self.where} is closed", instrument=self.instrument, remedy="open the instrument again"
            )

    def _fill(self, wanted: int, deadline: float, timeout_s: float, last_byte: int | None) -> None:
        left = deadline - time.monotonic()
        piece = self._receive(max(1, wanted), max(0.0, left), last_byte)
        self._buffer += piece
        if not piece and left <= SLICE_S:
            self._is_out_of_step = True
            raise InstrumentTimeout(
                f"no complete reply from {self.where} within {timeout_s:g} s, received {_shown(self._buffer)}",
                instrument=self.instrument,
                remedy="check that it is switched on, connected and not in use by another program",
            )

    def _take(self, n: int) -> bytes:
        piece = bytes(memoryview(self._buffer)[:n])
        del self._buffer[:n]
        return piece

    def _too_long(self, max_bytes: int) -> GarbledReply:
        self._is_out_of_step = True
        return GarbledReply(
            f"reply from {self.where} has more than {max_bytes} bytes without an end, begins {_shown(self._buffer)}",
            instrument=self.instrument,
            remedy="check baud rate and model",
        )

    def _lost(self, cause: object) -> ConnectionLost:
        return ConnectionLost(
            f"connection to {self.where} lost: {cause}", instrument=self.instrument, remedy="check power and cable"
        )


def _shown(data: bytes | bytearray) -> str:
    return f"{bytes(data[:_SHOWN_BYTES])!r}" + (f" ... ({len(data)} bytes)" if len(data) > _SHOWN_BYTES else "")
