"""What the two nodes say within a round. Frozen, typed, bounded, MessagePack on the wire.

A message is decoded with `decode`, which refuses anything over `MAX_MESSAGE_BYTES`, unknown types, and fields out of
bounds. Every message but `Tag` and `Abort` is part of the round's transcript, ordered by (phase, sender, sequence).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from postproc.errors import ProtocolViolation

MAX_MESSAGE_BYTES = 64 << 20
Count = Annotated[int, Meta(ge=0, le=1 << 48)]
Blob = Annotated[bytes, Meta(max_length=48 << 20)]
Short = Annotated[str, Meta(max_length=400)]
Counts = Annotated[list[Count], Meta(min_length=1, max_length=4)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=True):
    """Base of all messages of a round."""


class RoundOpen(Message, frozen=True, tag=1):
    """A->B, phase 0: the block is these slots of this transmitter session; all numbers of the plan are fixed here."""

    epoch: Count
    round: Count
    session_id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    first_slot: Count
    slots: Count
    pads_a_to_b: Count  # absolute offset of the round's pads in the pool of that direction, bytes
    pads_b_to_a: Count
    secret_length_bits: Count
    leakage_budget_bits: Count
    min_single_photon_key: Count
    max_phase_error: Annotated[float, Meta(ge=0, le=0.5)]
    expected_qber_z: Annotated[float, Meta(ge=0.0001, le=0.2)]
    refill: Annotated[bytes, Meta(max_length=4096)]  # how the front of the key is cut into the authentication pools
    prelude_sha256: Annotated[
        bytes, Meta(min_length=32, max_length=32)
    ]  # over the calibration and sync messages since the last round


class DetectionChunk(Message, frozen=True, tag=2):
    """B->A, phase 1: slot numbers of detections, as LEB128 differences (postproc.slot_coding)."""

    sequence: Count
    count: Count
    deltas: Blob


class Bases(Message, frozen=True, tag=3):
    """B->A, phase 2: Bob's basis per detection, packed little-endian; ends the slots. The early tag follows."""

    count: Count
    bases_packed: Blob


class Reveal(Message, frozen=True, tag=4):
    """A->B, phase 3: Alice's bases and intensity classes of the detected slots, and her bits where both used X."""

    bases_packed: Blob
    intensities_packed: Blob
    test_bits_packed: Blob


class Syndromes(Message, frozen=True, tag=5):
    """A->B, phase 4: LDPC syndromes of all frames under the code named by `code` (postproc.reconciliation)."""

    attempt: Count
    code: Short
    frames: Annotated[list[Count], Meta(max_length=4096)]
    syndromes: Annotated[list[Blob], Meta(max_length=4096)]


class FrameReport(Message, frozen=True, tag=6):
    """B->A, phase 4: which of the frames of that attempt decoded (one bit each, charged)."""

    attempt: Count
    success_packed: Blob


class Disclosure(Message, frozen=True, tag=7):
    """A->B, phase 4: frames that failed finally, in full (charged with their whole length, kept in all counts)."""

    frames: Annotated[list[Count], Meta(max_length=4096)]
    bits_packed: Annotated[list[Blob], Meta(max_length=4096)]


class Verification(Message, frozen=True, tag=8):
    """A->B, phase 5: fresh seed and value of the polynomial hash over the whole reconciled key."""

    seed: Annotated[bytes, Meta(min_length=16, max_length=16)]
    value: Annotated[bytes, Meta(min_length=16, max_length=16)]


class ErrorCounts(Message, frozen=True, tag=9):
    """B->A, phase 6: errors per intensity class in both bases; those of the key basis are charged."""

    m_key: Counts
    m_test: Counts


class AmplificationSeed(Message, frozen=True, tag=10):
    """A->B, phase 7: the Toeplitz seed, n + m - 1 bits, packed little-endian."""

    seed_packed: Blob


class Tag(Message, frozen=True, tag=11):
    """Wegman-Carter tag over the transcript so far; `kind` is one of TAG_KINDS."""

    kind: Short
    pad_offset: Count
    tag: Annotated[bytes, Meta(min_length=16, max_length=16)]


class Abort(Message, frozen=True, tag=12):
    """Advisory: binds nothing (the absence of a valid tag is the abort)."""

    reason: Short


RoundMessage = (
    RoundOpen
    | DetectionChunk
    | Bases
    | Reveal
    | Syndromes
    | FrameReport
    | Disclosure
    | Verification
    | ErrorCounts
    | AmplificationSeed
    | Tag
    | Abort
)

PHASE: dict[type[Message], int] = {
    RoundOpen: 0, DetectionChunk: 1, Bases: 2, Reveal: 3, Syndromes: 4, FrameReport: 4, Disclosure: 4,
    Verification: 5, ErrorCounts: 6, AmplificationSeed: 7,
}  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RoundMessage)


def encode(message: Message) -> bytes:
    """Canonical bytes of a message (MessagePack arrays, no maps, so the encoding is unique)."""
    return _encoder.encode(message)


def decode(data: bytes | memoryview) -> RoundMessage:
    """Parse one message. Raises ProtocolViolation on anything that is not exactly one valid message."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolViolation(f"message of {len(data)} bytes is longer than the limit of {MAX_MESSAGE_BYTES}")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ProtocolViolation(f"not a message of a round: {error}") from error
