"""Slot numbers on the wire: strictly ascending numbers as differences, each an unsigned LEB128.

Seven bits per byte, least significant group first, high bit set on all bytes but the last of a number. A difference is
at least 1 (one detection per slot). At one detection in 100 slots that is about 10 bits per detection, against an
entropy of 8.1. Exactly one encoding of a list is accepted, so that a transcript has one form.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from postproc.errors import InputOutOfRange, ProtocolViolation

MAX_SLOT = 1 << 62
_MAX_BYTES_PER_DELTA = 9  # 63 bits

# What the decoding kernel found wrong, with the index of the number it was found at.
_TRUNCATED, _ZERO, _NOT_CANONICAL, _BEYOND_LIMIT, _TRAILING, _FINE = -1, -2, -3, -4, -5, 0
_REASON = {
    _TRUNCATED: "the data ends inside a number",
    _ZERO: "a difference is zero: slots must ascend strictly",
    _NOT_CANONICAL: "a number is not in its shortest form",
    _BEYOND_LIMIT: "a slot reaches the limit",
    _TRAILING: "data is left over",
}


def encode_deltas(slot: NDArray[np.int64], previous: int) -> bytes:
    """Encode int64[n] slots, strictly ascending, the first above `previous` (-1 or the last slot of the chunk before).

    Raises InputOutOfRange when the slots do not ascend strictly from `previous` or lie outside 0..2^62.
    """
    _check_previous(previous)
    slot = np.ascontiguousarray(slot, dtype=np.int64)
    if slot.size == 0:
        return b""
    if int(slot.max()) >= MAX_SLOT or int(slot.min()) <= previous:
        raise InputOutOfRange(f"slots span {slot.min()}..{slot.max()}; they must lie above {previous} and below 2^62")
    if slot.size > 1 and int((slot[1:] - slot[:-1]).min()) < 1:
        raise InputOutOfRange("slots must be strictly ascending")
    out = np.empty(slot.size * _MAX_BYTES_PER_DELTA, dtype=np.uint8)
    return out[: _encode(slot, previous, out)].tobytes()


def decode_deltas(data: bytes | memoryview, count: int, previous: int, limit: int) -> NDArray[np.int64]:
    """Decode exactly `count` slots, int64[count], all in previous < slot < limit.

    The memory used is bounded by the length of the data, whatever `count` claims. Raises ProtocolViolation on anything
    that `encode_deltas` would not have produced.
    """
    _check_previous(previous)
    if not previous < limit <= MAX_SLOT:
        raise InputOutOfRange(f"limit {limit} must lie above the previous slot {previous} and at most at 2^62")
    if not 0 <= count <= len(data) <= count * _MAX_BYTES_PER_DELTA:
        raise ProtocolViolation(f"{len(data)} bytes cannot hold exactly {count} slots (1 to 9 bytes each)")
    out = np.empty(count, dtype=np.int64)
    fault, index = _decode(np.frombuffer(data, dtype=np.uint8), previous, limit, out)
    if fault != _FINE:
        raise ProtocolViolation(f"slots after {previous}: {_REASON[fault]} (number {index} of {count}, limit {limit})")
    return out


def _check_previous(previous: int) -> None:
    if not -1 <= previous < MAX_SLOT:
        raise InputOutOfRange(f"previous slot {previous} is outside -1..2^62")


@njit(nogil=True, cache=True)
def _encode(slot, previous, out):  # type: ignore[no-untyped-def]
    """Write the numbers to out, return the bytes used."""
    used = 0
    last = np.int64(previous)
    for i in range(slot.size):
        rest = slot[i] - last
        last = slot[i]
        while rest >= 128:
            out[used] = np.uint8((rest & 127) | 128)
            rest >>= 7
            used += 1
        out[used] = np.uint8(rest)
        used += 1
    return used


@njit(nogil=True, cache=True)
def _decode(data, previous, limit, out):  # type: ignore[no-untyped-def]
    """Fill out from data. Returns (fault, index of the number)."""
    at = 0
    last = np.int64(previous)
    for i in range(out.size):
        delta = np.int64(0)
        shift = 0
        while True:
            if at == data.size:
                return _TRUNCATED, i
            byte = np.int64(data[at])
            at += 1
            if shift == 63:
                return _BEYOND_LIMIT, i
            delta |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if delta == 0 and shift == 0:
            return _ZERO, i
        if byte == 0:
            return _NOT_CANONICAL, i
        if delta >= limit - last:
            return _BEYOND_LIMIT, i
        last += delta
        out[i] = last
    if at != data.size:
        return _TRAILING, out.size
    return _FINE, out.size
