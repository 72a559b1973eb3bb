"""CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in RFC 3720 appendix B.4), by tables, eight bytes a step."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78


def _make_tables() -> NDArray[np.uint32]:
    """uint32 [8, 256]: table k advances a byte by k further bytes."""
    tables = np.zeros((8, 256), dtype=np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        tables[0, byte] = value
    for k in range(1, 8):
        before = tables[k - 1]
        tables[k] = (before >> 8) ^ tables[0][before & 0xFF]
    return tables


_TABLES = _make_tables()


@nb.njit(nogil=True, cache=True)
def _update(crc: int, data: NDArray[np.uint8], tables: NDArray[np.uint32]) -> np.uint32:
    value = np.uint32(crc)
    low_byte = np.uint32(0xFF)
    n = data.size
    i = 0
    while i + 8 <= n:
        low = value ^ (
            np.uint32(data[i])
            | (np.uint32(data[i + 1]) << np.uint32(8))
            | (np.uint32(data[i + 2]) << np.uint32(16))
            | (np.uint32(data[i + 3]) << np.uint32(24))
        )
        value = (
            tables[7, low & low_byte]
            ^ tables[6, (low >> np.uint32(8)) & low_byte]
            ^ tables[5, (low >> np.uint32(16)) & low_byte]
            ^ tables[4, (low >> np.uint32(24)) & low_byte]
            ^ tables[3, data[i + 4]]
            ^ tables[2, data[i + 5]]
            ^ tables[1, data[i + 6]]
            ^ tables[0, data[i + 7]]
        )
        i += 8
    while i < n:
        value = tables[0, (value ^ np.uint32(data[i])) & low_byte] ^ (value >> np.uint32(8))
        i += 1
    return value


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C of `data`; check value: crc32c(b"123456789") == 0xE3069283."""
    return int(_update(0xFFFFFFFF, np.frombuffer(data, dtype=np.uint8), _TABLES)) ^ 0xFFFFFFFF
