"""A `ByteLink` that plays a transcript: it expects these bytes and gives those, without time passing."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.errors import ConnectionLost, InstrumentTimeout

Step = tuple[bytes, bytes]


class ScriptedLink:
    """Steps are (expected from the driver, given by the instrument). A wrong byte from the driver fails the test.

    `is_unplugged` breaks it; `arrive` puts unasked bytes on the line.
    """

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self.steps = list(steps)
        self.received = bytearray()
        self.written = bytearray()
        self.is_closed = False
        self.is_unplugged = False

    def expect(self, *steps: Step) -> None:
        self.steps += steps

    def arrive(self, data: bytes) -> None:
        self.received += data

    def check_done(self) -> None:
        assert self.steps == [], f"not asked for: {self.steps}"

    def write(self, data: bytes) -> None:
        self._check_plugged()
        assert self.steps, f"the transcript is over, yet the driver sends {data!r}"
        expected, given = self.steps.pop(0)
        assert data == expected
        self.written += data
        self.received += given

    def read_until(self, terminator: bytes, timeout_s: float, max_bytes: int = 65_536) -> bytes:
        self._check_plugged()
        at = self.received.find(terminator)
        if at < 0:
            raise InstrumentTimeout(f"nothing within {timeout_s} s, received {bytes(self.received)!r}")
        assert at + len(terminator) <= max_bytes
        return self._take(at + len(terminator))

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        self._check_plugged()
        if len(self.received) < n:
            raise InstrumentTimeout(f"nothing within {timeout_s} s")
        return self._take(n)

    def drain(self) -> bytes:
        self._check_plugged()
        return self._take(len(self.received))

    def close(self) -> None:
        self.is_closed = True

    def _take(self, n: int) -> bytes:
        piece = bytes(self.received[:n])
        del self.received[:n]
        return piece

    def _check_plugged(self) -> None:
        if self.is_unplugged or self.is_closed:
            raise ConnectionLost("unplugged")
