"""Import of a pre-shared key: once, and complete or not at all, also if the node is killed in between.

    1. read and check the file, refuse a serial that stands in `<store>.psk-used`
    2. build the store under a temporary name, flush it
    3. add the serial to `<store>.psk-used`, flush it                    ← from here on the serial is used
    4. give the store its name
    5. write the node's TLS files, overwrite and delete the bundle file

Killed before 3, the import starts again; killed after 3, the next call finishes it. A serial that was used and has no
store is refused: whoever deleted the store cannot repeat its pads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from controller.keys.errors import StoreExists
from controller.keys.store import NodeStore
from controller.trust.errors import PskRefused
from controller.trust.psk import PskBundle, destroy_file, read_bundle, sync_directory

_SUFFIXES = (".mirror", "")  # the database last: it is what `open` looks for


@dataclass(frozen=True)
class TlsFiles:
    """Where the node's TLS identity lies, for ssl.SSLContext."""

    certificate: Path
    key: Path
    peer_certificate: Path

    @classmethod
    def beside(cls, store: Path) -> TlsFiles:
        """Names derived from the store's."""
        return cls(*(store.with_name(f"{store.name}.{part}.pem") for part in ("tls", "tls-key", "peer")))


def import_once(bundle_path: Path, store_path: Path, kek: bytes, *, link_id: str, node: str) -> NodeStore:
    """Turn a bundle file into the open store of this node and destroy the file.

    Raises PskRefused (damaged, for another link or node, used before) and StoreExists (a store of another serial is
    there).
    """
    bundle = read_bundle(bundle_path)
    if bundle.link_id != link_id or bundle.node != node:
        raise PskRefused(f"{bundle_path} is for {bundle.node} of {bundle.link_id}, this is {node} of {link_id}")
    temporary = store_path.with_name(store_path.name + ".new")
    used = store_path.with_name(store_path.name + ".psk-used")
    if store_path.exists():
        _require_same(store_path, kek, bundle)
    else:
        if bundle.serial.hex() not in _used(used):
            _discard(temporary)
            NodeStore.create(temporary, kek, link_id=link_id, node=bundle.node, psk=bundle).close()
            _append(used, bundle.serial.hex())
        _rename(temporary, store_path, bundle)
    _write_tls(TlsFiles.beside(store_path), bundle)
    destroy_file(bundle_path)
    return NodeStore.open(store_path, kek)


def _used(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _append(path: Path, serial: str) -> None:
    with path.open("a") as file:
        file.write(serial + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _discard(temporary: Path) -> None:
    for suffix in (".mirror", "-wal", "-shm", ""):
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def _rename(temporary: Path, store: Path, bundle: PskBundle) -> None:
    if not temporary.exists():
        raise PskRefused(
            f"pre-shared key {bundle.serial.hex()} was imported before and its store is gone",
            remedy="make a new pair of bundles: its pads must not be used twice",
        )
    for suffix in _SUFFIXES:
        source = temporary.with_name(temporary.name + suffix)
        if source.exists():
            source.rename(store.with_name(store.name + suffix))
    sync_directory(store.parent)


def _require_same(store_path: Path, kek: bytes, bundle: PskBundle) -> None:
    """A store is there: only the unfinished import of the same bundle may go on."""
    with NodeStore.open(store_path, kek) as store:
        if store.psk_serial != bundle.serial:
            raise StoreExists(f"{store_path} belongs to another pre-shared key", remedy="one store per link and key")
        if store.last_round() >= 0 or store.consumed_bits():
            raise PskRefused(f"pre-shared key {bundle.serial.hex()} was imported before", remedy="destroy the file")


def _write_tls(files: TlsFiles, bundle: PskBundle) -> None:
    contents = (
        (files.certificate, bundle.tls_certificate_pem),
        (files.key, bundle.tls_key_pem),
        (files.peer_certificate, bundle.peer_certificate_pem),
    )
    for path, data in contents:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
