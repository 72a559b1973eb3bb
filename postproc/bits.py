"""Bit arrays and their packed form: bit i of the array is bit (i mod 8), least significant first, of byte i div 8."""

from __future__ import annotations

import numpy as np

from postproc.errors import InputOutOfRange, ProtocolViolation
from postproc.records import BitArray


def pack(bits: BitArray) -> bytes:
    """Pack uint8[n] of 0 and 1 into ceil(n/8) bytes; spare bits of the last byte are zero.

    Raises InputOutOfRange when an element is neither 0 nor 1 (packing would silently turn it into 1).
    """
    if bits.size and int(bits.max()) > 1:
        raise InputOutOfRange(f"a bit array holds the value {int(bits.max())}; only 0 and 1 are bits")
    return np.packbits(bits, bitorder="little").tobytes()


def unpack(data: bytes | memoryview, n: int) -> BitArray:
    """The n bits in `data`, uint8[n]. Raises ProtocolViolation unless data is exactly the packed form of n bits."""
    expected = (n + 7) // 8
    if n < 0 or len(data) != expected:
        raise ProtocolViolation(f"{len(data)} bytes given for {n} packed bits, which take {expected} bytes")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    if bits[n:].any():
        raise ProtocolViolation(f"spare bits after the {n} packed bits are set; they must be zero")
    return bits[:n]
