"""The canonical transcript: the bytes that both nodes build for themselves and that every tag covers.

    "QKD-AUTH/1" · u8 suite · LP(link) · u32 epoch · u64 round · u8 direction · LP(kind) · LP(identity A) ·
    LP(identity B) · u64 pad offset
    · LP(canonical parameters) · LP(version)
    · per message, ordered by (phase, sender, sequence):  u8 phase · u8 sender · u16 type · u64 sequence · u64 length
    · payload
    · u64 number of messages · u64 their total length · u8 verdict

Numbers are big-endian; LP(x) is a u32 length and x. Every field is of fixed size or carries its length, so no
transcript is a prefix of another one and no two different histories give the same bytes. The order is that of the
protocol, never that of arrival. Direction, kind and pad offset differ between the tags of one round: a tag can
neither be reflected nor stand for another one.

The transcript is an iterator of parts: payloads of several megabytes are passed on as they are and never copied.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controller.trust.errors import TranscriptError
from controller.trust.wegman_carter import Buffer

DOMAIN = b"QKD-AUTH/1"
SUITE_POLY1305_ONE_TIME = 1
MAX_TEXT_BYTES = 1 << 16
MAX_MESSAGES = 1 << 20


class Direction(enum.IntEnum):
    """Who sends the tag."""

    A_TO_B = 0
    B_TO_A = 1


class Sender(enum.IntEnum):
    """Who said a message."""

    ALICE = 0
    BOB = 1


class Verdict(enum.IntEnum):
    """What the transcript ends in."""

    ABORT = 0
    OK = 1


@dataclass(frozen=True)
class TranscriptHeader:
    """What a tag is bound to beside the messages.

    `suite` 0..255; `epoch` < 2^32; `round` and `pad_offset` < 2^64 (bytes, absolute in the pool of `direction`);
    `kind` names the tag within the round; `parameters` are the canonical bytes of everything that must agree on both
    nodes; `version` is that of the software.
    """

    suite: int
    link_id: str
    epoch: int
    round: int
    direction: Direction
    kind: str
    identity_a: str
    identity_b: str
    pad_offset: int
    parameters: bytes
    version: str


@dataclass(frozen=True, eq=False)
class TranscriptEntry:
    """One message: `type` is its tag number on the wire (< 2^16), `payload` its encoded bytes."""

    phase: int
    sender: Sender
    sequence: int
    type: int
    payload: Buffer

    @property
    def order(self) -> tuple[int, int, int]:
        """Position in the transcript."""
        return (self.phase, int(self.sender), self.sequence)


def _text(value: bytes) -> bytes:
    if len(value) > MAX_TEXT_BYTES:
        raise TranscriptError(f"header field of {len(value)} bytes is longer than {MAX_TEXT_BYTES}")
    return struct.pack(">I", len(value)) + value


def header_bytes(header: TranscriptHeader) -> bytes:
    """The fixed part at the front. Raises TranscriptError when a number does not fit its field."""
    try:
        numbers = struct.pack(">B", header.suite) + _text(header.link_id.encode())
        numbers += struct.pack(">IQB", header.epoch, header.round, header.direction) + _text(header.kind.encode())
        identities = _text(header.identity_a.encode()) + _text(header.identity_b.encode())
        offset = struct.pack(">Q", header.pad_offset)
    except struct.error as error:
        raise TranscriptError(f"header number out of range: {error}") from error
    return DOMAIN + numbers + identities + offset + _text(header.parameters) + _text(header.version.encode())


def _ordered(entries: Iterable[TranscriptEntry]) -> list[TranscriptEntry]:
    ordered = sorted(entries, key=lambda entry: entry.order)
    if len(ordered) > MAX_MESSAGES:
        raise TranscriptError(f"{len(ordered)} messages, limit {MAX_MESSAGES}")
    for before, after in itertools.pairwise(ordered):
        if before.order == after.order:
            raise TranscriptError(f"two messages at (phase, sender, sequence) = {after.order}")
    return ordered


def message_parts(entries: Iterable[TranscriptEntry], verdict: Verdict) -> Iterator[Buffer]:
    """Everything after the header."""
    ordered = _ordered(entries)
    for entry in ordered:
        try:
            yield struct.pack(">BBHQQ", entry.phase, entry.sender, entry.type, entry.sequence, len(entry.payload))
        except struct.error as error:
            raise TranscriptError(f"message number out of range: {error}") from error
        yield entry.payload
    yield struct.pack(">QQB", len(ordered), sum(len(entry.payload) for entry in ordered), verdict)


def transcript_parts(
    header: TranscriptHeader, entries: Iterable[TranscriptEntry], verdict: Verdict = Verdict.OK
) -> Iterator[Buffer]:
    """The whole transcript, in parts, for `wegman_carter.tag` and `verify`."""
    yield header_bytes(header)
    yield from message_parts(entries, verdict)


def transcript_bytes(header: TranscriptHeader, entries: Iterable[TranscriptEntry]) -> int:
    """Length of the transcript in bytes (for epsilon)."""
    return sum(len(part) for part in transcript_parts(header, entries))


def transcript_sha256(entries: Iterable[TranscriptEntry], verdict: Verdict = Verdict.OK) -> str:
    """SHA-256 (hex) over the messages of both directions, equal on both nodes (for the record only)."""
    digest = hashlib.sha256(DOMAIN)
    for part in message_parts(entries, verdict):
        digest.update(part)
    return digest.hexdigest()
