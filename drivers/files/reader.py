"""Read a file of time tags, whatever its format, into the `TagBatch`es that live taggers deliver.

The format is recognised from the content (magic number, plausibility of the first records); the file name only decides
for files too short to tell. `format=` overrides both. Memory is bounded by the batch, not by the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np

from drivers.errors import DamagedFile
from drivers.files import ptu, qutag, s_fifteen
from drivers.files.batches import BATCH_RECORDS, BatchMaker, Decoded
from drivers.tags import TagBatch


class TagFormat(StrEnum):
    """Formats that can be read; the values are what `format=` takes."""

    S15_A1 = "s15-a1"
    S15_A1X = "s15-a1x"
    S15_LEGACY = "s15-legacy"
    QUTAG = "qutag"
    QUTAG_RAW = "qutag-raw"
    PTU = "ptu"


_SUFFIXES = {
    ".a1.ts": TagFormat.S15_A1,
    ".a1x.ts": TagFormat.S15_A1X,
    ".qutag": TagFormat.QUTAG,
    ".ptu": TagFormat.PTU,
}
_SAMPLE_BYTES = 1 << 16
_ENOUGH_RECORDS = 16
_PLAUSIBLE = 0.9  # share of records in order; a wrong reading of the bytes gives about 0.5
_S15_FORMATS = (TagFormat.S15_A1, TagFormat.S15_A1X, TagFormat.S15_LEGACY)


@dataclass(frozen=True, slots=True)
class TagFileInfo:
    """What can be said of a tag file without reading it all. `records` includes overflow and dummy records."""

    path: str
    format: TagFormat
    size_bytes: int
    records: int


def describe(path: Path | str, format: str | None = None) -> TagFileInfo:  # noqa: A002
    """Format and size. Raises DamagedFile."""
    path = Path(path)
    with _opened(path) as file:
        head, size = _head(file)
    kind = _format_of(path, head, size, format)
    offset, record_bytes = 0, s_fifteen.RECORD_BYTES
    if kind is TagFormat.PTU:
        offset, record_bytes = ptu.read_header(head, name=path.name).data_offset, ptu.RECORD_BYTES
    elif kind in (TagFormat.QUTAG, TagFormat.QUTAG_RAW):
        offset = qutag.HEADER_BYTES if kind is TagFormat.QUTAG else 0
        record_bytes = qutag.RECORD_BYTES
    return TagFileInfo(str(path), kind, size, max(0, size - offset) // record_bytes)


def read_tag_file(
    path: Path | str,
    format: str | None = None,  # noqa: A002
    *,
    batch_records: int = BATCH_RECORDS,
) -> Iterator[TagBatch]:
    """Batches of at most `batch_records` records, in file order.

    A file that ends inside a record: everything before it, then an anomaly TRUNCATED. A record that cannot be:
    everything before it, then DamagedFile. A format that cannot be recognised: DamagedFile at once.
    """
    path = Path(path)
    with _opened(path) as file:
        head, size = _head(file)
        kind = _format_of(path, head, size, format)
        if kind is TagFormat.PTU:
            yield from _read_ptu(file, ptu.read_header(head, name=path.name), size, path.name, batch_records)
        elif kind in _S15_FORMATS:
            yield from _read_s_fifteen(file, kind, batch_records)
        else:
            yield from _read_qutag(file, kind, path.name, batch_records)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DamagedFile(f"{path}: cannot be opened: {error.strerror}", remedy="check the path") from error


def _head(file: BinaryIO) -> tuple[bytes, int]:
    """(the first MiB, size of the file); the position is left at the start."""
    head = file.read(ptu.HEADER_LIMIT)
    size = file.seek(0, 2)
    file.seek(0)
    return head, size


def _format_of(path: Path, head: bytes, size: int, override: str | None) -> TagFormat:
    if override is not None:
        try:
            return TagFormat(override)
        except ValueError as error:
            raise DamagedFile(
                f"{path}: format {override!r} is not known", remedy="format " + ", ".join(TagFormat)
            ) from error
    return recognise(path.name, head, size)


def recognise(name: str, head: bytes, size: int) -> TagFormat:
    """Which format `head` (the beginning of a file of `size` bytes) is in. Raises DamagedFile if that is not clear."""
    if head.startswith(ptu.MAGIC):
        return TagFormat.PTU
    sample = head[:_SAMPLE_BYTES]
    found = _recognise_qutag(sample) or _recognise_s_fifteen(sample)
    if found is not None:
        return found
    by_name = next((kind for suffix, kind in _SUFFIXES.items() if name.lower().endswith(suffix)), None)
    if by_name is not None and len(sample) < _ENOUGH_RECORDS * qutag.RECORD_BYTES + qutag.HEADER_BYTES:
        return by_name
    raise DamagedFile(
        f"{name}: {size} bytes in no tag format that is known",
        remedy="name the format: " + ", ".join(TagFormat),
    )


def _recognise_qutag(sample: bytes) -> TagFormat | None:
    for kind, offset in ((TagFormat.QUTAG, qutag.HEADER_BYTES), (TagFormat.QUTAG_RAW, 0)):
        records = qutag.records_of(sample[offset:])
        if records.size < _ENOUGH_RECORDS or qutag.first_impossible(records) < records.size:
            continue
        time = records["time"].astype(np.int64)
        if np.mean(time[1:] >= time[:-1]) >= _PLAUSIBLE:
            return kind
    return None


def _recognise_s_fifteen(sample: bytes) -> TagFormat | None:
    low_first = s_fifteen.words(sample, is_high_word_first=False)
    if low_first.size < _ENOUGH_RECORDS:
        return None
    high_first = s_fifteen.words(sample, is_high_word_first=True)
    low_path, high_path = s_fifteen.path_length(low_first), s_fifteen.path_length(high_first)
    records = low_first if low_path < high_path else high_first
    if low_path == high_path or s_fifteen.order_score(records) < _PLAUSIBLE:
        return None
    if low_path < high_path:
        return TagFormat.S15_A1
    return TagFormat.S15_LEGACY if s_fifteen.is_legacy_layout(high_first) else TagFormat.S15_A1X


def _read_s_fifteen(file: BinaryIO, kind: TagFormat, batch_records: int) -> Iterator[TagBatch]:
    maker = BatchMaker()
    while data := file.read(batch_records * s_fifteen.RECORD_BYTES):
        records = s_fifteen.words(data, is_high_word_first=kind is not TagFormat.S15_A1)
        chunk = s_fifteen.decode(records, is_legacy_time=kind is TagFormat.S15_LEGACY)
        yield maker.make(chunk, trailing_bytes=len(data) % s_fifteen.RECORD_BYTES)


def _read_qutag(file: BinaryIO, kind: TagFormat, name: str, batch_records: int) -> Iterator[TagBatch]:
    maker = BatchMaker()
    if kind is TagFormat.QUTAG and len(file.read(qutag.HEADER_BYTES)) < qutag.HEADER_BYTES:
        raise DamagedFile(f"{name}: shorter than the {qutag.HEADER_BYTES}-byte header of a quTAG file")
    position = 0
    while data := file.read(batch_records * qutag.RECORD_BYTES):
        records = qutag.records_of(data)
        good = qutag.first_impossible(records)
        is_whole = good == records.size
        trailing = len(data) % qutag.RECORD_BYTES if is_whole else 0
        yield maker.make(qutag.decode(records[:good]), trailing_bytes=trailing)
        if not is_whole:
            bad = records[good]
            raise DamagedFile(
                f"{name}: record {position + good} is impossible (time {bad['time']}, channel {bad['channel']})",
                remedy="use what was read before it",
            )
        position += good


def _read_ptu(file: BinaryIO, header: ptu.PtuHeader, size: int, name: str, batch_records: int) -> Iterator[TagBatch]:
    maker = BatchMaker()
    decoder = ptu.PtuDecoder(header)
    file.seek(header.data_offset)
    present = (size - header.data_offset) // ptu.RECORD_BYTES
    wanted = min(present, header.records) if header.records else present
    missing_bytes = max(0, header.records - present) * ptu.RECORD_BYTES
    position = 0
    while position < wanted:
        data = file.read(min(batch_records, wanted - position) * ptu.RECORD_BYTES)
        records = np.frombuffer(data, dtype="<u4", count=len(data) // ptu.RECORD_BYTES).astype(np.int64)
        chunk, read = decoder.decode(records)
        yield maker.make(chunk)
        if read < records.size or not records.size:
            raise DamagedFile(
                f"{name}: record {position + read} is impossible ({int(records[read]):#010x})"
                if records.size
                else f"{name}: ended while it was read",
                remedy="use what was read before it",
            )
        position += read
    if missing_bytes:
        yield maker.make(_nothing(), trailing_bytes=missing_bytes)


def _nothing() -> Decoded:
    return Decoded(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8))
