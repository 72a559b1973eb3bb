"""quTools quTAG binary files: a 40-byte header (its content is the maker's own) and 10-byte records.

A record is u64 time in the device's base unit of 1 ps, then u16 channel counted from 0 (0 = start input), both
little-endian. Channels 100-104 and 200-203 are markers. `qutag-raw` is the same without the header.
Source: tdcbase.h 1.15 (TDC_writeTimestamps); FermilabQuantumNetwork/RecoQuTAG.

The 5-byte "compressed" form is not read: the published description leaves open at which end the channel stands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.files.batches import MAX_TIME_PS, Decoded
from drivers.tags import TagFlag

HEADER_BYTES = 40
RECORD_BYTES = 10
MAX_INPUTS = 32
_RECORD = np.dtype([("time", "<u8"), ("channel", "<u2")])
_MARKERS = (100, 101, 102, 103, 104, 200, 201, 202, 203)
_IS_KNOWN = np.zeros(1 << 16, dtype=np.bool_)
_IS_KNOWN[:MAX_INPUTS] = True
_IS_KNOWN[list(_MARKERS)] = True


def records_of(data: bytes) -> NDArray[np.void]:
    """Whole records of `data`, structured array [len // 10] with fields time and channel."""
    return np.frombuffer(data, dtype=_RECORD, count=len(data) // RECORD_BYTES)


def first_impossible(records: NDArray[np.void]) -> int:
    """Index of the first record no quTAG writes (unknown channel, absurd time); len(records) if there is none."""
    is_bad = ~_IS_KNOWN[records["channel"]] | (records["time"] >= np.uint64(MAX_TIME_PS))
    return int(np.argmax(is_bad)) if is_bad.any() else int(records.size)


def decode(records: NDArray[np.void]) -> Decoded:
    """Possible records to tags. Inputs are counted from 1 (the file counts from 0); markers keep their number."""
    raw = records["channel"]
    is_marker = raw >= 100
    return Decoded(
        time_ps=records["time"].astype(np.int64),
        channel=np.where(is_marker, raw, raw + 1).astype(np.uint8),
        flags=np.where(is_marker, TagFlag.MARKER, TagFlag.NONE).astype(np.uint8),
    )
