"""From decoded records to `TagBatch`: flags backward steps, sums up anomalies, remembers what must survive a chunk.

A reader never sorts: the order of the file is kept, and where the device's own time goes backwards the tag carries
`TagFlag.BACKWARD`. Anomalies are summed per batch and kind, so that a damaged file cannot fill the memory with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.tags import Anomaly, AnomalyKind, TagBatch, TagFlag

BATCH_RECORDS = 1 << 18
MAX_TIME_PS = 1 << 62  # 53 days; times beyond it are damage, and differences of times below it fit into int64


@dataclass(frozen=True, slots=True)
class Decoded:
    """One chunk of records after decoding, in the order of the file.

    time_ps int64 [n], channel uint8 [n], flags uint8 [n] (SIMULTANEOUS and MARKER only); `dummies`: records that are
    no events; `first_dummy_ps`: where the first one stood; `simultaneous`: records that named several detectors.
    """

    time_ps: NDArray[np.int64]
    channel: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    dummies: int = 0
    first_dummy_ps: int = 0
    simultaneous: int = 0


class BatchMaker:
    """Turns `Decoded` chunks of one file into `TagBatch`es; holds the last and the latest time between them."""

    def __init__(self) -> None:
        self._last_ps: int | None = None
        self._latest_ps = 0

    def make(self, chunk: Decoded, *, trailing_bytes: int = 0) -> TagBatch:
        """`trailing_bytes`: bytes after the last whole record; they are reported as TRUNCATED."""
        time_ps = chunk.time_ps
        flags = chunk.flags
        anomalies = list(_device_anomalies(chunk))
        if time_ps.size:
            before = time_ps[0] if self._last_ps is None else self._last_ps
            steps = np.diff(time_ps, prepend=before)
            backward = np.flatnonzero(steps < 0)
            if backward.size:
                flags[backward] |= np.uint8(TagFlag.BACKWARD)
                anomalies.append(_backward_anomaly(time_ps, steps, backward))
            self._last_ps = int(time_ps[-1])
            self._latest_ps = max(self._latest_ps, int(time_ps.max()))
        if trailing_bytes:
            note = f"the file ends inside a record: {trailing_bytes} bytes left over"
            anomalies.append(Anomaly(AnomalyKind.TRUNCATED, self._latest_ps, 1, note))
        return TagBatch(time_ps, chunk.channel, flags, self._latest_ps, tuple(anomalies))


def _device_anomalies(chunk: Decoded) -> tuple[Anomaly, ...]:
    found = []
    if chunk.dummies:
        found.append(Anomaly(AnomalyKind.DUMMY, chunk.first_dummy_ps, chunk.dummies, "records that are no events"))
    if chunk.simultaneous:
        first = int(chunk.time_ps[np.argmax(chunk.flags & TagFlag.SIMULTANEOUS > 0)])
        found.append(
            Anomaly(AnomalyKind.SIMULTANEOUS, first, chunk.simultaneous, "records that name several detectors")
        )
    return tuple(found)


def _backward_anomaly(time_ps: NDArray[np.int64], steps: NDArray[np.int64], at: NDArray[np.int64]) -> Anomaly:
    note = f"time goes backwards, by up to {-int(steps[at].min())} ps"
    return Anomaly(AnomalyKind.BACKWARD, int(time_ps[at[0]]), int(at.size), note)
