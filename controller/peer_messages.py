"""What the two nodes say to each other outside the rounds. Typed and bounded like postproc.messages, on a channel of
their own.

Nothing here is part of a key. What prepares a round (plan, calibration, synchronisation) is hashed into the
`prelude_sha256` of the next RoundOpen by both nodes, so that it stands in that round's authenticated transcript.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.errors import PeerFailure

MAX_CONTROL_BYTES = 8 << 20
FIRST_STEPS = ("restore", "forget")  # either begins the preparation of a session: what was prepared before is void
Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Text = Annotated[str, Meta(max_length=2000)]
SessionId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class Control(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=True):
    """Base of the messages outside the rounds."""


class OpenRound(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A round that a crash left open: `state` as in controller.keys.rounds."""

    round: Count
    state: Annotated[str, Meta(pattern="^(open|pending|committed)$")]


class Hello(Control, frozen=True, tag=1):
    """First message on a connection, both ways: who, what was agreed, and where the durable state stands."""

    protocol_version: Count
    software_version: Text
    role: Annotated[str, Meta(pattern="^(alice|bob)$")]
    node: Text
    peer: Text
    link_id: Text
    psk_serial: Text
    parameters: Annotated[bytes, Meta(max_length=16384)]
    epoch: Count
    last_round: Count
    unsettled: Annotated[list[OpenRound], Meta(max_length=16)]
    ready_rounds: Annotated[list[Count], Meta(max_length=16)]  # the newest rounds that are settled as keys
    offsets: Annotated[dict[str, Count], Meta(max_length=16)]  # region/direction -> next pad offset, bytes
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]


class HelloTag(Control, frozen=True, tag=2):
    """Wegman-Carter tag over both Hellos, with a pad of the resynchronisation reserve."""

    pad_offset: Count
    tag: Annotated[bytes, Meta(min_length=16, max_length=16)]


class CalibrationStep(Control, frozen=True, tag=3):
    """A->B: the light of this step is on; measure."""

    step: Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$")]


class CalibrationDone(Control, frozen=True, tag=4):
    """B->A: outcome of the step, in words."""

    step: Text
    is_ok: bool
    detail: Text
    values: Annotated[list[float], Meta(max_length=64)]


class SessionStart(Control, frozen=True, tag=5):
    """A->B: start the tagger. Blocks are the intervals first_block_slot + k * block_slots; the plan is fixed here,
    before any of them.
    """

    session_id: SessionId
    first_block_slot: Count
    block_slots: Count
    secret_length_bits: Count
    leakage_budget_bits: Count
    min_single_photon_key: Count
    max_phase_error: Annotated[float, Meta(ge=0, le=0.5)]


class TaggerReady(Control, frozen=True, tag=6):
    """B->A: the tagger records; Alice may arm."""

    session_id: SessionId


class SyncString(Control, frozen=True, tag=7):
    """A->B: all symbols of the first slots of the session, disclosed (TXP symbol bytes)."""

    session_id: SessionId
    symbols: Annotated[bytes, Meta(max_length=4 << 20)]


class SyncResult(Control, frozen=True, tag=8):
    """B->A: the offset was found and confirmed on fresh data, or why not."""

    session_id: SessionId
    is_ok: bool
    detail: Text


class BlockReady(Control, frozen=True, tag=9):
    """B->A: the block's slot assignment is frozen and waits for its round."""

    session_id: SessionId
    first_slot: Count
    detections: Count


class LinkFault(Control, frozen=True, tag=10):
    """Either way: the sender sees a fault that stops the session; `code` is an alarm id."""

    code: Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$")]
    text: Text


class Telemetry(Control, frozen=True, tag=11):
    """A->B, about once a second: output power relative to its calibration, and the laser's state. For diagnosis."""

    power_ratio: Annotated[float, Meta(ge=0, le=1000)]
    is_emitting: bool


class Observation(Control, frozen=True, tag=15):
    """B->A, about once a second: detection rate relative to the expectation. For diagnosis and as a sign of life."""

    rate_ratio: Annotated[float, Meta(ge=0, le=1e6)]


class Notice(Control, frozen=True, tag=12):
    """Either way: an authenticated key delivery notice or its acknowledgement (controller.keys.notices)."""

    payload: Annotated[bytes, Meta(max_length=1 << 20)]


class Farewell(Control, frozen=True, tag=13):
    """Either way: an orderly stop."""

    reason: Text


ControlMessage = (
    Hello | HelloTag | CalibrationStep | CalibrationDone | SessionStart | TaggerReady | SyncString | SyncResult
    | BlockReady | LinkFault | Telemetry | Notice | Farewell | Observation
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(ControlMessage)


def encode(message: Control) -> bytes:
    """MessagePack bytes."""
    return _encoder.encode(message)


def decode(data: bytes) -> ControlMessage:
    """Parse one message. Raises PeerFailure on anything else."""
    if len(data) > MAX_CONTROL_BYTES:
        raise PeerFailure(f"control message of {len(data)} bytes is longer than the limit of {MAX_CONTROL_BYTES}")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise PeerFailure(f"malformed control message: {error}") from error


class Prelude:
    """Running hash over the messages that prepare a round, in the order in which both nodes agree: Alice's and Bob's
    separately.
    """

    def __init__(self) -> None:
        self._hashes = (hashlib.sha256(), hashlib.sha256())

    def add(self, sender: int, payload: bytes) -> None:
        """Take up a message of Alice (0) or Bob (1)."""
        self._hashes[sender].update(len(payload).to_bytes(8, "big") + payload)

    def digest(self) -> bytes:
        """32 bytes; the prelude starts anew."""
        value = hashlib.sha256(b"".join(h.digest() for h in self._hashes)).digest()
        self._hashes = (hashlib.sha256(), hashlib.sha256())
        return value
