"""Pre-shared key bundles: the trust anchor of a link that needs no computational assumption.

`make_bundles` makes the two halves of one bundle for Alice and Bob: the same random pools for all regions and
directions, the same random serial, and for each node its own TLS key and both nodes' self-signed certificates (the
TLS channel shields against junk; it is not what the security claim rests on).

A file is "QKD-PSK/1\\n", SHA-256 of the rest, and the bundle in MessagePack; mode 0600. It is carried to its node by
a person, imported once and destroyed there (controller.keys.bootstrap). The checksum guards against accidents; the
file itself is secret and is trusted.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.trust.errors import PskRefused
from controller.trust.node_certificate import make_node_certificate
from controller.trust.pads import POOLS, NodeName, PadDirection, RefillSizes, Region

_MAGIC = b"QKD-PSK/1\n"
MAX_FILE_BYTES = 64 << 20
DEFAULT_SIZES = RefillSizes(round_bytes=64 << 10, resync_bytes=16 << 10, notice_bytes=64 << 10)
Pem = Annotated[bytes, Meta(max_length=1 << 16)]


class PskBundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's half. `serial` (16 bytes) is public and enters every key_ID; pools and `tls_key_pem` are secret."""

    serial: Annotated[bytes, Meta(min_length=16, max_length=16)]
    link_id: Annotated[str, Meta(min_length=1, max_length=64)]
    node: NodeName
    identity: Annotated[str, Meta(min_length=1, max_length=64)]
    peer_identity: Annotated[str, Meta(min_length=1, max_length=64)]
    pools: dict[str, Annotated[bytes, Meta(max_length=16 << 20)]]
    tls_certificate_pem: Pem
    tls_key_pem: Pem
    peer_certificate_pem: Pem

    def pool(self, region: Region, direction: PadDirection) -> bytes:
        """Initial bytes of one pool."""
        return self.pools[f"{region}/{direction}"]

    def __repr__(self) -> str:
        return f"PskBundle({self.node} of {self.link_id}, serial {self.serial.hex()})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("node", self.node), ("link_id", self.link_id), ("serial", self.serial.hex())]


def make_bundles(
    link_id: str, alice_identity: str, bob_identity: str, sizes: RefillSizes = DEFAULT_SIZES
) -> tuple[PskBundle, PskBundle]:
    """Both halves of a new bundle, from the operating system's random generator; `sizes` are bytes per direction."""
    serial = secrets.token_bytes(16)
    pools = {f"{region}/{direction}": secrets.token_bytes(sizes.of(region)) for region, direction in POOLS}
    certificate_a, key_a = make_node_certificate(alice_identity)
    certificate_b, key_b = make_node_certificate(bob_identity)
    alice = PskBundle(
        serial=serial,
        link_id=link_id,
        node="alice",
        identity=alice_identity,
        peer_identity=bob_identity,
        pools=pools,
        tls_certificate_pem=certificate_a,
        tls_key_pem=key_a,
        peer_certificate_pem=certificate_b,
    )
    bob = PskBundle(
        serial=serial,
        link_id=link_id,
        node="bob",
        identity=bob_identity,
        peer_identity=alice_identity,
        pools=pools,
        tls_certificate_pem=certificate_b,
        tls_key_pem=key_b,
        peer_certificate_pem=certificate_a,
    )
    return alice, bob


def write_bundle(path: Path, bundle: PskBundle) -> None:
    """Write a bundle file, mode 0600, flushed. Raises FileExistsError rather than overwrite."""
    body = msgspec.msgpack.encode(bundle)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        file.flush()
        os.fsync(file.fileno())


def read_bundle(path: Path) -> PskBundle:
    """Read and check a bundle file. Raises PskRefused with the reason: missing, readable by others, damaged, not a
    bundle.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PskRefused(f"{path}: {error.strerror}", remedy="make a pair of bundles: qkd trust psk") from error
    if mode & 0o077:
        raise PskRefused(
            f"{path}: mode {mode:04o} lets others read it", remedy="make a new pair; this one may be known"
        )
    digest, body = data[len(_MAGIC) : len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if len(data) > MAX_FILE_BYTES or not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise PskRefused(
            f"{path}: damaged, already destroyed, or not a pre-shared key", remedy="make a new pair of bundles"
        )
    try:
        bundle = msgspec.msgpack.decode(body, type=PskBundle)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise PskRefused(f"{path}: not a bundle of this version") from None
    if set(bundle.pools) != {f"{region}/{direction}" for region, direction in POOLS}:
        raise PskRefused(f"{path}: the pools are not those of this version")
    return bundle


def destroy_file(path: Path) -> None:
    """Overwrite a file and delete it, flushed. (Solid-state disks and journals may keep copies: destroy the medium.)"""
    with path.open("r+b", buffering=0) as file:
        file.write(os.urandom(path.stat().st_size))
        os.fsync(file.fileno())
    path.unlink()
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flush a directory entry to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
