"""Words for the authentication pools: regions, directions, a burnt pad, and how a refill is laid out.

A pool is one region in one direction. Positions are absolute bytes since the link began; both nodes hold the same
bytes at the same positions.

    round    tags of the rounds            resync   tags after a crash (reserve)            notice   tags of key
    delivery notices ab       made by Alice                 ba       made by Bob
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from controller.trust.errors import TranscriptError

Region = Literal["round", "resync", "notice"]
PadDirection = Literal["ab", "ba"]
NodeName = Literal["alice", "bob"]

REGIONS: tuple[Region, ...] = get_args(Region)
PAD_DIRECTIONS: tuple[PadDirection, ...] = get_args(PadDirection)
POOLS: tuple[tuple[Region, PadDirection], ...] = tuple((region, way) for region in REGIONS for way in PAD_DIRECTIONS)

MAX_SKIP_BYTES = (
    1024  # how far ahead of the own counter a position named by the peer may be: some crashes' worth of pads
)


@dataclass(frozen=True, repr=False)
class Pad:
    """Bytes that were burnt durably before they were handed out: use them once, then `wipe` them."""

    region: Region
    direction: PadDirection
    offset: int
    data: bytearray

    def part(self, index: int, n_bytes: int = 32) -> memoryview:
        """The `index`-th piece of `n_bytes` bytes. Raises IndexError beyond the end."""
        if not 0 <= index < len(self.data) // n_bytes:
            raise IndexError(f"pad of {len(self.data)} bytes has no piece {index} of {n_bytes}")
        return memoryview(self.data)[index * n_bytes : (index + 1) * n_bytes]

    def wipe(self) -> None:
        """Overwrite the bytes."""
        self.data[:] = bytes(len(self.data))

    def __repr__(self) -> str:
        return f"Pad({self.region}/{self.direction} at {self.offset}, {len(self.data)} bytes)"


@dataclass(frozen=True)
class RefillSizes:
    """Bytes that each region gains in each direction out of one block."""

    round_bytes: int
    resync_bytes: int
    notice_bytes: int

    def __post_init__(self) -> None:
        if min(self.round_bytes, self.resync_bytes, self.notice_bytes) < 0:
            raise ValueError(f"negative refill: {self}")

    @classmethod
    def from_total(cls, n_bytes: int) -> RefillSizes:
        """Split a total over both directions in the ratio 4:1:3, rounded down to whole pads of 32 bytes."""
        unit = n_bytes // 2 // 8 // 32 * 32
        return cls(round_bytes=4 * unit, resync_bytes=unit, notice_bytes=3 * unit)

    def within(self, n_bytes: int) -> RefillSizes:
        """As much of it as fits into a total over both directions, whole pads only: resynchronisation first, as it is
        small and a link without it is lost; then rounds, then notices.
        """
        left = max(0, n_bytes // 2)
        taken = []
        for wanted in (self.resync_bytes, self.round_bytes, self.notice_bytes):
            taken.append(min(wanted, left) // 32 * 32)
            left -= taken[-1]
        return RefillSizes(resync_bytes=taken[0], round_bytes=taken[1], notice_bytes=taken[2])

    @property
    def total_bytes(self) -> int:
        """Over all regions and both directions."""
        return 2 * (self.round_bytes + self.resync_bytes + self.notice_bytes)

    def of(self, region: Region) -> int:
        """Bytes per direction for one region."""
        sizes = {"round": self.round_bytes, "resync": self.resync_bytes, "notice": self.notice_bytes}
        return sizes[region]


class RefillEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The next `n_bytes` bytes of the block go to this pool at absolute `position`."""

    region: Region
    direction: PadDirection
    position: Annotated[int, Meta(ge=0, lt=1 << 62)]
    n_bytes: Annotated[int, Meta(ge=1, lt=1 << 32)]


class RefillLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the front of a block is cut into the pools, in this order; part of the transcript on both nodes."""

    entries: tuple[RefillEntry, ...]

    @property
    def total_bytes(self) -> int:
        """How many bytes of the block go to the pools."""
        return sum(entry.n_bytes for entry in self.entries)

    def encode(self) -> bytes:
        """Canonical bytes."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> RefillLayout:
        """Inverse of `encode`. Raises TranscriptError for anything else: the bytes may come from the peer."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            raise TranscriptError(f"malformed refill layout: {error}") from error


NO_REFILL = RefillLayout(entries=())
