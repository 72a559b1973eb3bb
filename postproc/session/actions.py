"""What a round asks of its surroundings, and what it is told in return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from postproc.messages import Message
from postproc.records import BitArray, Detections


class TagKind(StrEnum):
    """The four tags of a round, in the order in which they are sent (protocol §3.3 and §3.10)."""

    EARLY = "early"  # B->A over slots and bases; Alice reveals nothing before it is verified
    BOB = "bob"  # B->A over the two-way transcript, after Bob stored the key as pending
    ALICE = "alice"  # A->B over the same, after Alice's durable decision: the confirmation
    ACKNOWLEDGE = "acknowledge"  # B->A: Bob is ready


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the transcript. `sender` is 0 for Alice and 1 for Bob; `sequence` counts per sender."""

    phase: int
    sender: int
    sequence: int
    type_code: int
    payload: bytes


class Job(Protocol):
    """A pure computation; the surroundings run it in a pool and hand the result back unchanged."""

    def run(self) -> object: ...


# ---- actions


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message to the peer. `payload` are its bytes, exactly as they stand in the transcript."""

    message: Message
    payload: bytes


@dataclass(frozen=True, slots=True)
class SignTag:
    """Make the tag of this kind over these entries with the round's pad, and send it."""

    kind: TagKind
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class CheckTag:
    """Verify the peer's tag over these entries; answer with `TagChecked`."""

    kind: TagKind
    entries: tuple[Entry, ...]
    pad_offset: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class LookUp:
    """Read Alice's symbols of these strictly ascending slots from the transmitter; answer with `SymbolsRead`."""

    slots: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Compute:
    """Run the job in a pool; answer with `Computed`."""

    job: Job


@dataclass(frozen=True, slots=True, repr=False)
class StorePending:
    """Store the amplified key durably as pending; answer with `Stored`."""

    secret: BitArray


@dataclass(frozen=True, slots=True)
class Decide:
    """Alice: record COMMIT durably; answer with `Decided`. From here on the key exists."""


@dataclass(frozen=True, slots=True)
class MakeReady:
    """Settle the round: refill the pools, make the rest deliverable; answer with `Settled`."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The round is over. `reason` is empty for a key."""

    has_key: bool
    reason: str


Action = Send | SignTag | CheckTag | LookUp | Compute | StorePending | Decide | MakeReady | Finish


# ---- events (beside the peer's messages)


@dataclass(frozen=True, slots=True)
class TagChecked:
    """Outcome of a CheckTag."""

    kind: TagKind
    is_valid: bool


@dataclass(frozen=True, slots=True, repr=False)
class SymbolsRead:
    """Outcome of a LookUp: TXP symbol bytes."""

    symbols: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, repr=False)
class Computed:
    """Outcome of a Compute."""

    job: Job
    result: object


@dataclass(frozen=True, slots=True, repr=False)
class BlockDetected:
    """Bob: the block's slot assignment is frozen."""

    detections: Detections


@dataclass(frozen=True, slots=True)
class Stored:
    """Outcome of StorePending."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Outcome of Decide."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Outcome of MakeReady."""


Event = TagChecked | SymbolsRead | Computed | BlockDetected | Stored | Decided | Settled
