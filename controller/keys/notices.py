"""Key delivery notices: what one KME tells the other before a consumer gets its reply, and the acknowledgement.

Notices are batched; each batch and each acknowledgement carries a one-time Wegman-Carter tag of its own from the
pools of region 'notice', over

    "QKD-NOTICE/1" · LP(link) · u8 kind (1 notice, 2 acknowledgement) · u64 pad offset · u64 length · body

and the direction is that of the pool: nothing can be reflected, repeated, or taken for the other kind. The pad is
burnt before a tag is made and before one is checked, whatever comes of it. Making and checking flush to disk: call
them on a thread.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.keys.errors import NoticeRefused
from controller.keys.store import NodeStore
from controller.trust import wegman_carter
from controller.trust.errors import AuthenticationFailed
from controller.trust.pads import NodeName, PadDirection

MAX_NOTICE_BYTES = 1 << 20
MAX_BATCH = 64
_DOMAIN = b"QKD-NOTICE/1"
_WAY: dict[NodeName, PadDirection] = {"alice": "ab", "bob": "ba"}

SaeId = Annotated[str, Meta(min_length=1, max_length=64)]
KeyId = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class DeliveryNotice(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """These keys go to `master_sae` at the sender's KME; the slave SAEs may fetch them at the receiver's. Sizes in
    bits.
    """

    master_sae: SaeId
    slave_saes: Annotated[tuple[SaeId, ...], Meta(min_length=1, max_length=64)]
    key_ids: Annotated[tuple[KeyId, ...], Meta(min_length=1, max_length=1024)]
    size_bits: Annotated[int, Meta(ge=8, le=4096, multiple_of=8)]


class NoticeBatch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """One authenticated message."""

    notices: Annotated[tuple[DeliveryNotice, ...], Meta(min_length=1, max_length=MAX_BATCH)]


class NoticeAcknowledgement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Which notices of the batch with this SHA-256 (of its signed bytes) the receiver has recorded durably."""

    batch_sha256: Annotated[bytes, Meta(min_length=32, max_length=32)]
    accepted: Annotated[tuple[bool, ...], Meta(min_length=1, max_length=MAX_BATCH)]


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pad_offset: Annotated[int, Meta(ge=0, lt=1 << 62)]
    body: Annotated[bytes, Meta(max_length=MAX_NOTICE_BYTES)]
    tag: Annotated[bytes, Meta(min_length=16, max_length=16)]


Body = NoticeBatch | NoticeAcknowledgement
_signed = msgspec.msgpack.Decoder(_Signed)
_body = msgspec.msgpack.Decoder(Body)


def sign(store: NodeStore, body: Body) -> bytes:
    """The message on the wire; burns one pad of this node's direction. Raises PoolStarved."""
    encoded = msgspec.msgpack.encode(body)
    pad = store.burn("notice", _WAY[store.node], wegman_carter.PAD_BYTES)
    tag = wegman_carter.tag(pad.data, _parts(store.link_id, _kind(body), pad.offset, encoded))
    pad.wipe()
    return msgspec.msgpack.encode(_Signed(pad.offset, encoded, tag))


def verify(store: NodeStore, payload: bytes) -> Body:
    """The authenticated body of the peer's message; burns one pad of the peer's direction.

    Raises NoticeRefused for bytes that are no notice (nothing is burnt), PadRefused, PoolStarved, AuthenticationFailed.
    """
    try:
        signed = _signed.decode(payload)
        body = _body.decode(signed.body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise NoticeRefused(f"malformed delivery notice: {error}") from error
    way = _WAY["bob" if store.node == "alice" else "alice"]
    pad = store.burn("notice", way, wegman_carter.PAD_BYTES, signed.pad_offset)
    is_valid = wegman_carter.verify(pad.data, _parts(store.link_id, _kind(body), pad.offset, signed.body), signed.tag)
    pad.wipe()
    if not is_valid:
        raise AuthenticationFailed(f"delivery notice with pad {signed.pad_offset}: the tag does not verify")
    return body


def acknowledge(store: NodeStore, batch: NoticeBatch) -> NoticeAcknowledgement:
    """Record every notice of a verified batch, durably, and say which ones fit this store."""
    accepted: list[bool] = []
    for notice in batch.notices:
        try:
            store.record_notice(notice.master_sae, notice.slave_saes, notice.key_ids, notice.size_bits)
        except NoticeRefused:
            accepted.append(False)
        else:
            accepted.append(True)
    return NoticeAcknowledgement(batch_digest(batch), tuple(accepted))


def batch_digest(batch: NoticeBatch) -> bytes:
    """SHA-256 of the encoded batch: names it in its acknowledgement."""
    return hashlib.sha256(msgspec.msgpack.encode(batch)).digest()


def _kind(body: Body) -> Literal[1, 2]:
    return 1 if isinstance(body, NoticeBatch) else 2


def _parts(link_id: str, kind: int, pad_offset: int, body: bytes) -> tuple[bytes, bytes]:
    link = link_id.encode()
    head = _DOMAIN + struct.pack(">I", len(link)) + link + struct.pack(">BQQ", kind, pad_offset, len(body))
    return head, body
