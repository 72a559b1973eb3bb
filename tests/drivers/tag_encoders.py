"""Small obvious writers of the tag formats, so that the readers can be checked against bytes that we understand."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def s15_record(time_units: int, pattern: int, *, is_dummy: bool = False, unspecified: int = 24) -> int:
    return time_units << 10 | unspecified << 5 | is_dummy << 4 | pattern


def s15_a1(words: Sequence[int]) -> bytes:
    return b"".join(struct.pack("<Q", word) for word in words)


def s15_a1x(words: Sequence[int]) -> bytes:
    return b"".join(struct.pack("<II", word >> 32, word & 0xFFFFFFFF) for word in words)


def s15_legacy(events: Sequence[tuple[int, int]]) -> bytes:
    """events: (time in 1/8 ns, pattern)."""
    return s15_a1x([time << 15 | pattern for time, pattern in events])


def qutag(events: Sequence[tuple[int, int]], header: bytes = b"\x87" * 40) -> bytes:
    """events: (time in ps, channel counted from 0)."""
    return header + b"".join(struct.pack("<QH", time, channel) for time, channel in events)


def ptu_tag(ident: str, kind: int, value: bytes, payload: bytes = b"") -> bytes:
    return ident.encode().ljust(32, b"\0") + struct.pack("<iI", -1, kind) + value + payload


def ptu(record_type: int, records: Sequence[int], *, unit_s: float, fine_s: float = 0.0, claimed: int = -1) -> bytes:
    """A whole PTU file; `claimed`: the number of records the header states (default: the true one)."""
    is_t3 = record_type >> 8 & 0xF == 3
    count = len(records) if claimed < 0 else claimed
    header = b"PQTTTR\0\0" + b"1.0.00\0\0"
    header += ptu_tag("Measurement_Mode", 0x10000008, struct.pack("<q", 3 if is_t3 else 2))
    header += ptu_tag("TTResultFormat_TTTRRecType", 0x10000008, struct.pack("<q", record_type))
    header += ptu_tag("TTResultFormat_BitsPerRecord", 0x10000008, struct.pack("<q", 32))
    header += ptu_tag("TTResult_NumberOfRecords", 0x10000008, struct.pack("<q", count))
    header += ptu_tag("MeasDesc_GlobalResolution", 0x20000008, struct.pack("<d", unit_s))
    header += ptu_tag("MeasDesc_Resolution", 0x20000008, struct.pack("<d", fine_s))
    comment = b"a comment\0\0\0\0\0\0\0"
    header += ptu_tag("File_Comment", 0x4001FFFF, struct.pack("<q", len(comment)), comment)
    header += ptu_tag("Header_End", 0xFFFF0008, bytes(8))
    return header + struct.pack(f"<{len(records)}I", *records)


def hydra_t2(events: Sequence[tuple[int, int]], *, wrap: int = 1 << 25) -> list[int]:
    """events: (time in units, channel), channel 0 sync, 1.. inputs, 101..115 markers. Overflows one at a time."""
    records, overflow = [], 0
    for time, channel in events:
        while time - overflow >= wrap:
            records.append(1 << 31 | 63 << 25 | 1)
            overflow += wrap
        special, where = (1, channel - 100 if channel else 0) if channel == 0 or channel > 100 else (0, channel - 1)
        records.append(special << 31 | where << 25 | (time - overflow))
    return records


def hydra_t3(events: Sequence[tuple[int, int, int]]) -> list[int]:
    """events: (sync number, dtime, input counted from 1); overflows counted in one record."""
    records, overflow = [], 0
    for sync, dtime, channel in events:
        wraps = (sync - overflow) // 1024
        if wraps:
            assert wraps < 1024
            records.append(1 << 31 | 63 << 25 | wraps)
            overflow += wraps * 1024
        records.append((channel - 1) << 25 | dtime << 10 | (sync - overflow))
    return records


def pico_t2(events: Sequence[tuple[int, int]]) -> list[int]:
    """events: (time in units, input counted from 1)."""
    records, overflow = [], 0
    for time, channel in events:
        while time - overflow >= 210698240:
            records.append(15 << 28)
            overflow += 210698240
        records.append((channel - 1) << 28 | (time - overflow))
    return records


def pico_t3(events: Sequence[tuple[int, int, int]]) -> list[int]:
    """events: (sync number, dtime, channel 1..4)."""
    records, overflow = [], 0
    for sync, dtime, channel in events:
        while sync - overflow >= 65536:
            records.append(15 << 28)
            overflow += 65536
        records.append(channel << 28 | dtime << 16 | (sync - overflow))
    return records
