"""Requests of ETSI GS QKD 014 V1.1.1 (clause 6), typed and bounded. Unknown members are ignored."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

MAX_BODY_BYTES = 64 << 10
T = TypeVar("T")


class KeyRequest(msgspec.Struct, frozen=True):
    """Clause 6.2; all members are optional. `size` in bits."""

    number: Annotated[int, Meta(ge=1)] = 1
    size: Annotated[int, Meta(ge=1)] | None = None
    additional_slave_SAE_IDs: tuple[str, ...] = ()  # noqa: N815 - the standard's spelling
    extension_mandatory: tuple[dict[str, Any], ...] = ()
    extension_optional: tuple[dict[str, Any], ...] = ()


class KeyId(msgspec.Struct, frozen=True):
    """One entry of clause 6.4."""

    key_ID: Annotated[str, Meta(max_length=64)]  # noqa: N815


class KeyIds(msgspec.Struct, frozen=True):
    """Clause 6.4."""

    key_IDs: Annotated[tuple[KeyId, ...], Meta(min_length=1)]  # noqa: N815


class BadRequest(Exception):
    """A request that this KME does not accept; the text goes to the consumer."""


_key_request = msgspec.json.Decoder(KeyRequest)
_key_ids = msgspec.json.Decoder(KeyIds)


def parse_key_request(body: bytes) -> KeyRequest:
    """Raises BadRequest."""
    return _decode(_key_request, body or b"{}")


def parse_key_ids(body: bytes) -> tuple[str, ...]:
    """Raises BadRequest."""
    return tuple(entry.key_ID for entry in _decode(_key_ids, body).key_IDs)


def parse_number(name: str, text: str | None, default: int) -> int:
    """A query parameter: decimal digits. Raises BadRequest."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise BadRequest(f"{name} shall be a positive integer")
    return int(text)


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"malformed request: {error}") from error
