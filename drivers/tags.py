"""The one type of raw clicks: every live tagger and every file reader ends in a `TagBatch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag, StrEnum

import numpy as np
from numpy.typing import NDArray


class TagFlag(IntFlag):
    """Per-tag remarks; 0 means an ordinary click."""

    NONE = 0
    SIMULTANEOUS = 1  # the device reported several channels in one record; each became a tag of its own
    BACKWARD = 2  # the device's own time went backwards here (batch is not sorted at this tag)
    MARKER = 4  # not a click: external marker or sync event


class AnomalyKind(StrEnum):
    """What a batch can report beside its tags."""

    OVERFLOW = "overflow"
    LOST = "lost"
    MISSED = "missed"
    DUMMY = "dummy"
    BACKWARD = "backward"
    SIMULTANEOUS = "simultaneous"
    CLOCK = "clock"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An explicit record of something that is not a tag. `time_ps`: where in the stream; `count`: how many."""

    kind: AnomalyKind
    time_ps: int
    count: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class TagBatch:
    """Time-stamped events in the order in which they are to be read.

    time_ps: int64 [n], picoseconds since the start of the acquisition, non-decreasing except at BACKWARD flags.
    channel: uint8 [n], the device's own channel numbers, counted from 1.
    flags:   uint8 [n], `TagFlag` bits.
    complete_until_ps: every click before this time is in this batch or an earlier one (live taggers merge streams).
    """

    time_ps: NDArray[np.int64]
    channel: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    complete_until_ps: int
    anomalies: tuple[Anomaly, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.time_ps.size == self.channel.size == self.flags.size:
            raise ValueError(
                f"TagBatch arrays differ in length: {self.time_ps.size}, {self.channel.size}, {self.flags.size}"
            )

    def __len__(self) -> int:
        return int(self.time_ps.size)
