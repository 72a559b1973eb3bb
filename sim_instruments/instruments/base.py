"""What a byte-level fake is, whatever it is plugged into.

A `Device` has one or more named ports ("control", "data", ...). Opening a port gives a `Conversation`: bytes are fed
to it as they arrive, in pieces of any size, and it sends bytes when it likes, through the function that it was opened
with. Neither knows about sockets, serial lines or ZeroMQ; the transports know nothing about commands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from sim_instruments.faults import FaultKind, FaultSwitch

Send = Callable[[bytes], None]


class Conversation(Protocol):
    """One client at one port."""

    def feed(self, data: bytes) -> None:
        """Bytes from the client, in order, cut anywhere."""

    def close(self) -> None:
        """The link is gone; nothing may be sent any more."""


class Device(ABC):
    """One simulated instrument. `faults` is shared with the links that lead to it."""

    #: faults beyond those every device can show
    special_faults: frozenset[FaultKind] = frozenset()

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults = FaultSwitch()
        self.faults.watch(self._fault_changed)

    @property
    @abstractmethod
    def ports(self) -> dict[str, Callable[[Send], Conversation]]:
        """Port name to the function that opens a conversation there."""

    @abstractmethod
    def power_on(self) -> None:
        """Give every setting, and the world, the state that the device has after mains on."""

    def special_fault(self, kind: FaultKind) -> None:  # noqa: B027  # most devices have none
        """A fault of `special_faults` began, or (NONE) ended. Devices with such faults override this."""

    def close(self) -> None:  # noqa: B027  # most devices have none
        """Stop threads of the device; the process goes on."""

    def _fault_changed(self, kind: FaultKind) -> None:
        if kind is FaultKind.RESTART:
            self.power_on()
        elif kind is FaultKind.NONE or kind in self.special_faults:
            self.special_fault(kind)


class LineConversation:
    """Splits what arrives at a terminator and hands each line, without it, to `answer`; sends what that returns.

    A line longer than `max_line` bytes is dropped up to its terminator, as a small input buffer would.
    """

    def __init__(
        self, send: Send, answer: Callable[[bytes], bytes | None], *, terminator: bytes, max_line: int = 4096
    ) -> None:
        self._send = send
        self._answer = answer
        self._terminator = terminator
        self._max_line = max_line
        self._buffer = bytearray()
        self._is_overlong = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(self._terminator)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + len(self._terminator)]
            is_dropped, self._is_overlong = self._is_overlong or len(line) > self._max_line, False
            if not is_dropped and (reply := self._answer(line)) is not None:
                self._send(reply)
        if len(self._buffer) > self._max_line:
            self._buffer = self._buffer[-len(self._terminator) :]
            self._is_overlong = True

    def close(self) -> None:
        self._buffer.clear()


class MessageConversation:
    """For message transports (ZeroMQ): each feed is one whole command, each answer one whole reply, possibly empty."""

    def __init__(self, send: Send, answer: Callable[[bytes], bytes]) -> None:
        self._send = send
        self._answer = answer

    def feed(self, data: bytes) -> None:
        self._send(self._answer(data))

    def close(self) -> None:
        """Nothing is kept between messages."""
