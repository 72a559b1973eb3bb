"""CRC-32C (Castagnoli) of TXP/1 look-ups: reflected polynomial 0x82F63B78 (RFC 3720, appendix B.4)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78


def _table() -> NDArray[np.uint32]:
    """uint32 [256]: the remainder that each byte value leaves."""
    remainder = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        remainder = np.where(remainder & 1, (remainder >> 1) ^ np.uint32(POLYNOMIAL), remainder >> 1)
    return remainder.astype(np.uint32)


TABLE = _table()


@njit(nogil=True, cache=True)
def _update(crc: np.uint32, data: NDArray[np.uint8], table: NDArray[np.uint32]) -> np.uint32:
    for i in range(data.size):
        crc = table[(crc ^ data[i]) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of `data`, 0 to 2^32-1. crc32c(b"123456789") is 0xE3069283."""
    return int(_update(np.uint32(0xFFFFFFFF), np.frombuffer(data, np.uint8), TABLE)) ^ 0xFFFFFFFF
