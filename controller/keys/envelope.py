"""Sealing of secrets at rest: AES-256-GCM under a data key, which is wrapped (RFC 3394) under the key-encryption key
of the node.

The key-encryption key is a file of 32 random bytes, readable by its owner only. Every record is sealed with a fresh
random 96-bit nonce and bound to its place by associated data, so records cannot be exchanged for each other. This
protects a stolen disk and is computational; the information-theoretic claim of a key needs the site itself to be
secure as well.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from controller.errors import ConfigurationError
from controller.keys.errors import SealBroken

KEK_BYTES = 32
NONCE_BYTES = 12
SEAL_OVERHEAD_BYTES = NONCE_BYTES + 16


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer in place (best effort: CPython may have made copies on the way)."""
    buffer[:] = bytes(len(buffer))


def make_kek(path: Path) -> bytes:
    """Make a key-encryption key file (32 bytes, mode 0600). Raises FileExistsError rather than overwrite one."""
    key = secrets.token_bytes(KEK_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def load_kek(path: Path) -> bytes:
    """Read a key-encryption key file. Raises ConfigurationError if it is missing, of a wrong size, or readable by
    others.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(KEK_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: key-encryption key cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(f"{path}: mode {mode:04o} lets others read the key", remedy=f"chmod 600 {path}")
    if len(key) != KEK_BYTES:
        raise ConfigurationError(f"{path}: a key-encryption key has {KEK_BYTES} bytes", remedy="make a new store")
    return key


class Envelope:
    """Seals and opens records under one data key. Holds the key in memory, never shows it."""

    def __init__(self, data_key: bytes) -> None:
        self._cipher = AESGCM(data_key)

    @classmethod
    def create(cls, kek: bytes) -> tuple[Envelope, bytes]:
        """A new random data key: the envelope, and the data key wrapped under `kek` for storage (40 bytes)."""
        data_key = secrets.token_bytes(32)
        return cls(data_key), aes_key_wrap(kek, data_key)

    @classmethod
    def unwrap(cls, kek: bytes, wrapped: bytes) -> Envelope:
        """The envelope of a stored data key. Raises SealBroken under a wrong `kek`."""
        try:
            return cls(aes_key_unwrap(kek, wrapped))
        except (InvalidUnwrap, ValueError) as error:
            raise SealBroken(
                "the key-encryption key does not open this store", remedy="use the store's own key file"
            ) from error

    def seal(self, secret: bytes | bytearray | memoryview, place: bytes) -> bytes:
        """Nonce and ciphertext, bound to `place` (table and key of the record)."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, place)

    def open(self, sealed: bytes, place: bytes) -> bytearray:
        """The secret in a wipeable buffer. Raises SealBroken if record, place or key do not belong together."""
        secret = bytearray(max(0, len(sealed) - SEAL_OVERHEAD_BYTES))
        try:
            self._cipher.decrypt_into(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place, secret)
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"record {place!r} of the store does not open", remedy="do not use this store") from error
        return secret

    def __repr__(self) -> str:
        return "Envelope(<sealed>)"
