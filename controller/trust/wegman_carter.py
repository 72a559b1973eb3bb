"""One-time Wegman-Carter tags: Poly1305 under 32 fresh pad bytes, information-theoretically secure.

The pad (r, s) comes out of the authentication pool and is used for one tag and then never again: neither AES nor a
key derivation stands between the pool and the tag, so no computational assumption enters. Evaluation is by OpenSSL;
the message is streamed, so transcripts of many megabytes are not copied.

Source: RFC 8439 §2.5 (Poly1305); D. J. Bernstein, "The Poly1305-AES message-authentication code" (2005), theorem 3.3
with a truly random s in place of AES: the chance that a forged message of at most L bytes is accepted is at most
8·ceil(L/16)/2^106 per attempt.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from cryptography.hazmat.primitives.poly1305 import Poly1305

from controller.trust.errors import TranscriptError

PAD_BYTES = 32
TAG_BYTES = 16
MAX_TAGGED_BYTES = 1 << 30

Buffer = bytes | bytearray | memoryview


def tag(pad: Buffer, parts: Iterable[Buffer]) -> bytes:
    """Tag (16 bytes) of the concatenation of `parts` under a pad of 32 bytes that is used for nothing else.

    Raises ValueError for a pad of another length, TranscriptError beyond `MAX_TAGGED_BYTES`.
    """
    if len(pad) != PAD_BYTES:
        raise ValueError(f"a pad has {PAD_BYTES} bytes, not {len(pad)}")
    authenticator = Poly1305(pad)
    total = 0
    for part in parts:
        total += len(part)
        if total > MAX_TAGGED_BYTES:
            raise TranscriptError(f"transcript is longer than {MAX_TAGGED_BYTES} bytes", remedy="use smaller blocks")
        authenticator.update(part)
    return authenticator.finalize()


def verify(pad: Buffer, parts: Iterable[Buffer], received: Buffer) -> bool:
    """Whether `received` is the tag of `parts`; constant-time in the tag. A tag of another length than 16 bytes is
    never valid.
    """
    return hmac.compare_digest(tag(pad, parts), bytes(received))


def epsilon(n_bytes: int) -> float:
    """Greatest chance that one forged message of at most `n_bytes` bytes is accepted: 8·ceil(n/16)/2^106."""
    if not 0 <= n_bytes <= MAX_TAGGED_BYTES:
        raise ValueError(f"message length {n_bytes} bytes is outside 0..{MAX_TAGGED_BYTES}")
    return 8.0 * max(1, -(-n_bytes // 16)) / 2.0**106
