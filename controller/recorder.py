"""The run file: HDF5 in SWMR mode, one file per run of a node. A killed writer loses nothing that was flushed.

Layout (everything is appended; nothing secret is ever in it):
  attrs                    format, node, role, run_id, started_utc, config_text, versions (JSON)
  documents/bytes, index   JSON documents in order: uint8 [total]; rows (kind, offset, length) into it, `DOCUMENT_KINDS`
  rates/rows               count rates over time: (wall_s, link_s, hz of four detectors)
  histograms/header, rows  arrival histograms: (wall_s, bin_ps) and int64 [bins] per channel 1..4, phase in the slot
SWMR allows no variable-length data and no new dataset after the start; hence the document store.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from controller.arrivals import BINS as HISTOGRAM_BINS
from controller.arrivals import CHANNELS
from controller.block_record import BlockRecord
from controller.errors import StorageFailure
from drivers.roles import Snapshot

FORMAT = "qkd-run/1"
DOCUMENT_KINDS = ("snapshot", "calibration", "block", "event", "summary")
MAX_DOCUMENT_BYTES = 1 << 24


class RunRecorder:
    """Writes one run file. Every append is flushed. Thread-safe. Raises StorageFailure when the disk refuses."""

    def __init__(
        self, path: Path, *, node: str, role: str, run_id: str, started_utc: str, config_text: str,
        versions: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.path = path
        self._lock = threading.Lock()
        self._start_s = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = h5py.File(path, "x", libver="latest")
            self._file.attrs.update(
                {
                    "format": FORMAT, "node": node, "role": role, "run_id": run_id, "started_utc": started_utc,
                    "versions": json.dumps(dict(versions)),
                }
            )  # fmt: skip
            self._bytes = _growing(self._file, "documents/bytes", np.uint8, ())
            self._index = _growing(self._file, "documents/index", np.int64, (3,))
            self._rates = _growing(self._file, "rates/rows", np.float64, (2 + CHANNELS,))
            self._headers = _growing(self._file, "histograms/header", np.float64, (2,))
            self._histograms = _growing(self._file, "histograms/rows", np.int64, (CHANNELS, HISTOGRAM_BINS))
            self._file["config_text"] = np.frombuffer(config_text.encode() or b"\n", np.uint8)
            self._file.swmr_mode = True
        except (OSError, RuntimeError) as error:  # h5py raises both
            raise StorageFailure(f"{path}: cannot create the run file: {error}", remedy="free disk space") from error

    def snapshots(self, snapshots: Mapping[str, Snapshot], *, time_utc: str) -> None:
        """Settings of all instruments."""
        instruments = {
            name: {"identity": asdict(s.identity), "values": dict(s.values), "raw": dict(s.raw)}
            for name, s in snapshots.items()
        }
        self._document("snapshot", {"time_utc": time_utc, "instruments": instruments})

    def calibration(self, result: Mapping[str, Any]) -> None:
        """One calibration's result: routine, id, verdict, values with sigma, limits, raw data."""
        self._document("calibration", result)

    def block(self, record: BlockRecord) -> None:
        """What a block knows about itself, a key or an abort."""
        self._document("block", record)

    def event(self, event: Mapping[str, Any]) -> None:
        """State changes, alarms, actuations."""
        self._document("event", event)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """The end of the run, in numbers."""
        self._document("summary", summary)

    def rates(self, rates_hz: Sequence[float], *, link_s: float) -> None:
        """Count rates now, at `link_s` seconds of the link's own time."""
        padded = (list(rates_hz) + [0.0] * CHANNELS)[:CHANNELS]
        self._append((self._rates, np.array([[self._wall_s(), link_s, *padded]])))

    def histogram(self, counts: NDArray[np.int64], *, bin_ps: float) -> None:
        """Arrival phases in the slot: counts int64 [4, HISTOGRAM_BINS], channels 1..4."""
        if counts.shape != (CHANNELS, HISTOGRAM_BINS):
            raise ValueError(f"histogram of shape {counts.shape}, not {(CHANNELS, HISTOGRAM_BINS)}")
        header = np.array([[self._wall_s(), bin_ps]])
        self._append((self._headers, header), (self._histograms, counts[np.newaxis]))

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            if self._file:
                self._file.close()

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _document(self, kind: str, document: Any) -> None:
        data = np.frombuffer(msgspec.json.encode(document, enc_hook=_plain), np.uint8)
        if data.size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{kind} document of {data.size} bytes, the limit is {MAX_DOCUMENT_BYTES}")
        row = np.array([[DOCUMENT_KINDS.index(kind), self._bytes.shape[0], data.size]])
        self._append((self._bytes, data), (self._index, row))

    def _append(self, *additions: tuple[Any, NDArray[Any]]) -> None:
        """Append rows and flush. The index of documents comes last, so a reader never sees half a document."""
        with self._lock:
            try:
                for dataset, rows in additions:
                    old = dataset.shape[0]
                    dataset.resize(old + rows.shape[0], axis=0)
                    dataset[old:] = rows
                    dataset.flush()
            except (OSError, RuntimeError) as error:
                raise StorageFailure(
                    f"{self.path}: cannot be written: {error}",
                    remedy="free disk space; what was written stays readable",
                ) from error

    def _wall_s(self) -> float:
        return time.monotonic() - self._start_s


@dataclass(frozen=True, slots=True)
class RunData:
    """A run file in memory.

    rates: float64 [n, 6] (wall s, link s, Hz of channels 1..4); histograms: int64 [n, 4, HISTOGRAM_BINS] with
    histogram_headers float64 [n, 2] (wall s, bin width ps).
    """

    path: Path
    node: str
    role: str
    run_id: str
    started_utc: str
    config_text: str
    versions: dict[str, str]
    snapshots: tuple[dict[str, Any], ...]
    calibrations: tuple[dict[str, Any], ...]
    blocks: tuple[BlockRecord, ...]
    events: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    rates: NDArray[np.float64]
    histogram_headers: NDArray[np.float64]
    histograms: NDArray[np.int64]

    @property
    def keys(self) -> tuple[BlockRecord, ...]:
        """The blocks that became keys."""
        return tuple(block for block in self.blocks if block.outcome == "key")


def read_run(path: Path) -> RunData:
    """Read a finished, a running or a killed writer's file. Raises StorageFailure if it is none of ours."""
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return _read(file, path)
    except (OSError, RuntimeError, KeyError, IndexError, ValueError, msgspec.MsgspecError) as error:
        raise StorageFailure(f"{path}: not a readable run file: {error}", remedy="qkd run writes *.h5 files") from error


def _read(file: Any, path: Path) -> RunData:
    if file.attrs.get("format") != FORMAT:
        raise ValueError(f"format {file.attrs.get('format')!r}, not {FORMAT!r}")
    documents = _documents(file)
    return RunData(
        path=path,
        node=str(file.attrs["node"]),
        role=str(file.attrs["role"]),
        run_id=str(file.attrs["run_id"]),
        started_utc=str(file.attrs["started_utc"]),
        config_text=file["config_text"][:].tobytes().decode(),
        versions=json.loads(file.attrs["versions"]),
        snapshots=tuple(json.loads(d) for d in documents["snapshot"]),
        calibrations=tuple(json.loads(d) for d in documents["calibration"]),
        blocks=tuple(msgspec.json.decode(d, type=BlockRecord) for d in documents["block"]),
        events=tuple(json.loads(d) for d in documents["event"]),
        summary=json.loads(documents["summary"][-1]) if documents["summary"] else {},
        rates=file["rates/rows"][:],
        histogram_headers=file["histograms/header"][:],
        histograms=file["histograms/rows"][:],
    )


def _documents(file: Any) -> dict[str, list[bytes]]:
    index = file["documents/index"][:]
    data = file["documents/bytes"][:].tobytes()
    found: dict[str, list[bytes]] = {kind: [] for kind in DOCUMENT_KINDS}
    for kind, offset, length in index.tolist():
        if not 0 <= offset <= offset + length <= len(data):
            raise ValueError(f"document at {offset}+{length} lies outside the {len(data)} bytes stored")
        found[DOCUMENT_KINDS[kind]].append(data[offset : offset + length])
    return found


def _growing(file: Any, name: str, dtype: type[np.generic], row: tuple[int, ...]) -> Any:
    chunk = (max(1, 65536 // max(1, int(np.prod(row)) * np.dtype(dtype).itemsize)), *row)
    return file.create_dataset(name, shape=(0, *row), maxshape=(None, *row), chunks=chunk, dtype=dtype)


def _plain(value: Any) -> Any:
    """For the JSON encoder: numpy scalars and arrays, paths, and mappings that are no dicts."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a run file")
