"""S-Fifteen time stamp cards: 8-byte records, three spellings of them.

A record is u64 = time << 10 | remarks: time in 1/256 ns (54 bits), bit 4 = dummy record (rollover, no event), bits 3-0
the detectors that clicked (several bits: in the same time bin), bits 9-5 unspecified.

    s15-a1      u64 little-endian                                     (readevents7 -a1)
    s15-a1x     high 32-bit word first, each word little-endian       (readevents7 -a1 -X)
    s15-legacy  word order of a1x, 49-bit time in 1/8 ns, bits 14-4 unused (readevents4, qcrypto)

Source: S-Fifteen fpfind, docs/user/parser.md and parse_timestamps.py; pyS15 timestamp7.py. The device's times are not
monotonic (steps back of some 10 us were recorded), so nothing here relies on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.files.batches import Decoded
from drivers.tags import TagFlag

RECORD_BYTES = 8
_PATTERN = np.uint64(0xF)
_DUMMY = np.uint64(0x10)
_WORD = np.uint64(32)
_DETECTORS = np.array([bin(p).count("1") for p in range(16)], dtype=np.int64)
_CHANNELS = np.array(
    [([c + 1 for c in range(4) if p >> c & 1] + [0] * 4)[:4] for p in range(16)], dtype=np.uint8
)  # [pattern, k] -> number of the k-th detector named


def words(data: bytes, *, is_high_word_first: bool) -> NDArray[np.uint64]:
    """Whole records of `data` as u64 [len // 8]."""
    records = np.frombuffer(data, dtype="<u8", count=len(data) // RECORD_BYTES)
    if is_high_word_first:
        return (records << _WORD) | (records >> _WORD)
    return records


def decode(records: NDArray[np.uint64], *, is_legacy_time: bool) -> Decoded:
    """Records u64 [n] to tags; a record with k detectors becomes k tags at the same time, flagged SIMULTANEOUS."""
    time_ps = _time_ps(records, is_legacy_time)
    pattern = (records & _PATTERN).astype(np.intp)
    is_dummy = (pattern == 0) if is_legacy_time else ((records & _DUMMY) != 0) | (pattern == 0)
    per_record = np.where(is_dummy, 0, _DETECTORS[pattern])
    source = np.repeat(np.arange(records.size), per_record)
    rank = np.arange(source.size) - (np.cumsum(per_record) - per_record)[source]
    flags = np.where(per_record > 1, TagFlag.SIMULTANEOUS, TagFlag.NONE).astype(np.uint8)[source]
    dummies = int(np.count_nonzero(is_dummy))
    return Decoded(
        time_ps=time_ps[source],
        channel=_CHANNELS[pattern[source], rank],
        flags=flags,
        dummies=dummies,
        first_dummy_ps=int(time_ps[np.argmax(is_dummy)]) if dummies else 0,
        simultaneous=int(np.count_nonzero(per_record > 1)),
    )


def _time_ps(records: NDArray[np.uint64], is_legacy_time: bool) -> NDArray[np.int64]:
    if is_legacy_time:  # 1/8 ns = 125 ps, exact
        return (records >> np.uint64(15)).astype(np.int64) * 125
    return ((records >> np.uint64(10)).astype(np.int64) * 125) >> 5  # 1/256 ns = 125/32 ps, rounded down


def order_score(records: NDArray[np.uint64]) -> float:
    """Share of neighbouring records whose time does not step back: near 1 for time tags, near 0.5 for other bytes."""
    time = (records >> np.uint64(10)).astype(np.int64)
    return float(np.mean(time[1:] >= time[:-1])) if time.size > 1 else 0.0


def path_length(records: NDArray[np.uint64]) -> float:
    """Sum of all steps of time, either way: in the right word order far smaller than in the wrong one."""
    return float(np.abs(np.diff((records >> np.uint64(10)).astype(np.int64).astype(np.float64))).sum())


def is_legacy_layout(records: NDArray[np.uint64]) -> bool:
    """Whether bits 14-4 are all unused, as in the 49-bit layout."""
    return not bool(np.any(records & np.uint64(0x7FF0)))
