"""TXP/1 on the wire: lines that may carry one IEEE 488.2 definite block, look-up records, numbered errors."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_instruments.crc32c import crc32c
from sim_instruments.instruments.base import Send

MAX_LINE_BYTES = 512
CALIBRATION, INVALID = 0x40, 0x80  # bits of a symbol byte
NOT_IN_PATTERN = 0b1100_1100  # states above 3, and the two bits above
LOOK_HEADER = struct.Struct("<QII")  # session id, slots, 0 (flags in the reply)


class TxpError(Exception):
    """A refused command; it has changed nothing."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f'{code},"{text}"')


SYNTAX = -100
UNDEFINED = -113
BAD_BLOCK = -161
WRONG_STATE = -200
OUT_OF_RANGE = -222
TOO_MUCH = -223
NO_SUCH_HARDWARE = -241
NOT_ARMED = 1101
NOT_ASCENDING = 1102
FUTURE_SLOT = 1103
EXPIRED = 1104
ALREADY_READ = 1105
SESSION_MISMATCH = 1106
INTERLOCK = 1109


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it came: header in upper case, the rest of the line, and its block if it carried one."""

    header: str
    argument: str
    block: bytes | None = None


class TxpConversation:
    """Cuts the bytes of one client into commands and sends `answer(command)`, one line or block for each.

    The block is found by its `#` behind the header, so that line ends inside it are data. A block above
    `max_block_bytes`, a line above 512 bytes and a malformed block header are answered with an error; since nobody can
    know where the next command begins then, everything received so far is dropped.
    """

    def __init__(self, send: Send, answer: Callable[[Command], bytes], *, max_block_bytes: int) -> None:
        self._send = send
        self._answer = answer
        self._max_block_bytes = max_block_bytes
        self._buffer = bytearray()
        self._wanted = 1

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and len(self._buffer) >= self._wanted:
            try:
                command = self._take()
            except TxpError as error:
                self._buffer.clear()
                self._wanted = 1
                self._send(error_line(error))
                continue
            if command is None:
                return
            if command.header:
                self._send(self._answer(command))

    def close(self) -> None:
        self._buffer.clear()

    def _take(self) -> Command | None:
        """The next whole command, or None with `_wanted` set to the number of bytes that are needed to go on."""
        head = bytes(self._buffer[: MAX_LINE_BYTES + 1])
        end, mark = head.find(b"\n"), head.find(b"#")
        if mark >= 0 and (end < 0 or mark < end):
            return self._take_block(head, mark)
        if end < 0:
            if len(head) > MAX_LINE_BYTES:
                raise TxpError(TOO_MUCH, f"line longer than {MAX_LINE_BYTES} bytes")
            self._wanted = len(self._buffer) + 1
            return None
        del self._buffer[: end + 1]
        self._wanted = 1
        header, _, argument = head[:end].decode("ascii", errors="replace").strip().partition(" ")
        return Command(header.upper(), argument.strip())

    def _take_block(self, head: bytes, mark: int) -> Command | None:
        header = head[:mark].decode("ascii", errors="replace").strip().upper()
        self._wanted = mark + 2
        if len(head) < self._wanted:
            return None
        if not head[mark + 1 : mark + 2].isdigit() or head[mark + 1] == ord("0"):
            raise TxpError(BAD_BLOCK, "block without a definite length")
        digits = int(head[mark + 1 : mark + 2])
        self._wanted = mark + 2 + digits
        if len(head) < self._wanted:
            return None
        length_text = head[mark + 2 : self._wanted]
        if not length_text.isdigit():
            raise TxpError(BAD_BLOCK, "block length is not a number")
        length = int(length_text)
        if length > self._max_block_bytes:
            raise TxpError(TOO_MUCH, f"block of {length} bytes; at most {self._max_block_bytes}")
        begin, stop = self._wanted, self._wanted + length
        self._wanted = stop + 1
        if len(self._buffer) < self._wanted:
            return None
        block = bytes(memoryview(self._buffer)[begin:stop])
        if self._buffer[stop] != ord("\n"):
            raise TxpError(BAD_BLOCK, "no line end behind the block")
        del self._buffer[: self._wanted]
        self._wanted = 1
        return Command(header, "", block)


def definite_block(data: bytes) -> bytes:
    """`data` as an IEEE 488.2 definite length block, with the line end of the protocol."""
    length = str(len(data)).encode("ascii")
    return b"#" + str(len(length)).encode("ascii") + length + data + b"\n"


def error_line(error: TxpError) -> bytes:
    """The one line that answers a refused command."""
    text = error.text.replace('"', "'")[:200]
    return f'ERR {error.code},"{text}"\n'.encode("ascii", errors="replace")


def parse_look_up(block: bytes) -> tuple[int, NDArray[np.uint64]]:
    """Session id and slots (uint64 [n]) of a LOOK block. Raises TxpError -161."""
    if len(block) < LOOK_HEADER.size:
        raise TxpError(BAD_BLOCK, f"LOOK block of {len(block)} bytes is shorter than its header")
    session, count, reserved = LOOK_HEADER.unpack_from(block)
    if reserved != 0 or len(block) != LOOK_HEADER.size + 8 * count:
        raise TxpError(BAD_BLOCK, f"LOOK block of {len(block)} bytes does not hold {count} slots")
    return session, np.frombuffer(block, dtype="<u8", offset=LOOK_HEADER.size)


def look_up_reply(session: int, symbols: NDArray[np.uint8], flags: int = 0) -> bytes:
    """id, n, flags, symbols, CRC-32C over all of it, little endian, as one block."""
    body = LOOK_HEADER.pack(session, symbols.size, flags) + symbols.tobytes()
    return definite_block(body + struct.pack("<I", crc32c(body)))
