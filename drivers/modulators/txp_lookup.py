"""The data port of a TXP/1 transmitter: look-ups of symbols, nothing else.

A reply names its session but not its request. So nothing that comes late may stay on the line: after a look-up that
failed half-way, or if there is unread input, the connection is given up and opened anew before the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drivers.byte_link import ByteLink
from drivers.errors import CommandRejected, GarbledReply, InstrumentError, SettingOutOfRange
from drivers.modulators import txp_wire as wire
from drivers.roles import TransmitterCapabilities

TIMEOUT_S = 3.0
SLOTS_PER_S = 1e6  # slower than this is a fault
MAX_LINE_BYTES = 512
ERROR_QUEUE_LIMIT = 64


class LookUpPort:
    """Asks for symbols. `open_link` opens the port: at once, and again whenever its state is not known any more."""

    def __init__(
        self, instrument: str, open_link: Callable[[], ByteLink], capabilities: TransmitterCapabilities
    ) -> None:
        self._instrument = instrument
        self._open_link = open_link
        self._capabilities = capabilities
        self._most_slots = min(capabilities.max_batch, (capabilities.max_block_bytes - wire.look_request_bytes(0)) // 8)
        self._lock = threading.Lock()
        self._last_slot = -1
        self._link: ByteLink | None = open_link()

    def start_session(self) -> None:
        """A new session counts its slots from 0 again."""
        with self._lock:
            self._last_slot = -1

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._drop()

    def look_up(self, session: int, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Symbols, uint8 [n], of slots, uint64 [n], which ascend strictly over the whole session.

        Raises SettingOutOfRange (nothing was sent), CommandRejected (nothing was consumed), and InstrumentTimeout,
        ConnectionLost or GarbledReply, after which the slots count as consumed.
        """
        with self._lock:
            self._check(slots)
            if not slots.size:
                return np.empty(0, np.uint8)
            link = self._clean_link()
            try:
                symbols = self._exchange(link, session, slots)
            except CommandRejected:
                raise
            except InstrumentError:
                self._last_slot = int(slots[-1])
                self._drop()
                raise
            self._last_slot = int(slots[-1])
            return symbols

    def _check(self, slots: NDArray[np.uint64]) -> None:
        if slots.ndim != 1 or slots.dtype != np.uint64:
            raise self._refused(f"slots as {slots.dtype} in {slots.ndim} dimensions", "uint64 in one dimension")
        if slots.size > self._most_slots:
            raise self._refused(f"a batch of {slots.size} slots", f"at most {self._most_slots} slots; split it")
        if slots.size and (int(slots[0]) <= self._last_slot or bool(np.any(slots[1:] <= slots[:-1]))):
            raise self._refused(
                f"slots from {slots[0]} on after slot {self._last_slot}", "strictly ascending over the session"
            )

    def _clean_link(self) -> ByteLink:
        if self._link is not None:
            try:
                is_clean = not self._link.drain()
            except InstrumentError:
                is_clean = False
            if not is_clean:
                self._drop()
        if self._link is None:
            self._link = self._open_link()
        return self._link

    def _exchange(self, link: ByteLink, session: int, slots: NDArray[np.uint64]) -> NDArray[np.uint8]:
        timeout_s = TIMEOUT_S + slots.size / SLOTS_PER_S
        link.write(wire.look_request(session, slots))
        payload = self._read_block(link, timeout_s)
        capabilities = self._capabilities
        try:
            return wire.parse_look_reply(payload, session, slots.size, capabilities.states, capabilities.intensities)
        except ValueError as error:
            raise self._garbled(f"a look-up was answered wrongly: {error}") from error

    def _read_block(self, link: ByteLink, timeout_s: float) -> bytes:
        start = link.read_exactly(2, timeout_s)
        if start == b"ER":
            raise self._rejected(link, start)
        if start[:1] != b"#" or start[1:] not in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"):
            raise self._garbled(f"a look-up reply begins {start!r}, not with a block")
        digits = link.read_exactly(int(start[1:]), timeout_s)
        most = wire.look_reply_bytes(self._most_slots)
        if not digits.isdigit() or int(digits) > most:
            raise self._garbled(f"a look-up reply claims {digits!r} bytes, at most {most} are possible")
        payload = link.read_exactly(int(digits), timeout_s)
        if (end := link.read_exactly(1, timeout_s)) != b"\n":
            raise self._garbled(f"behind the block of a look-up reply comes {end!r}, not a line feed")
        return payload

    def _rejected(self, link: ByteLink, start: bytes) -> InstrumentError:
        line = (start + link.read_until(b"\n", TIMEOUT_S, MAX_LINE_BYTES)).decode("ascii", "replace").strip()
        refusal = wire.parse_error_line(line)
        if refusal is None:
            return self._garbled(f"a look-up was answered {line[:80]!r}")
        return CommandRejected(
            self._drain_errors(link) or (refusal,),
            instrument=self._instrument,
            remedy="look up only slots that were sent, in ascending order, within the horizon",
        )

    def _drain_errors(self, link: ByteLink) -> tuple[tuple[int, str], ...]:
        entries: list[tuple[int, str]] = []
        while len(entries) < ERROR_QUEUE_LIMIT:
            link.write(b"SYST:ERR?\n")
            line = link.read_until(b"\n", TIMEOUT_S, MAX_LINE_BYTES).decode("ascii", "replace").strip()
            try:
                entry = wire.parse_error_entry(line)
            except ValueError as error:
                raise self._garbled(f"SYST:ERR? was answered {line[:80]!r}: {error}") from error
            if entry[0] == 0:
                break
            entries.append(entry)
        return tuple(entries)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _refused(self, what: str, allowed: str) -> SettingOutOfRange:
        return SettingOutOfRange(f"{what}: nothing was sent", instrument=self._instrument, remedy=allowed)

    def _garbled(self, what: str) -> GarbledReply:
        return GarbledReply(what, instrument=self._instrument, remedy="check the transmitter's firmware and data port")
