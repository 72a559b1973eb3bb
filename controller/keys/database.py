"""The one SQLite database of a node, and the counter beside it that a restored copy cannot wind back.

Every change is one transaction. Before its COMMIT the mirror file gets the new generation number, all pool positions
and the last round, and is flushed to disk. So after a crash the mirror is equal to the database or one step ahead:

    equal             nothing happened
    one step ahead    killed between mirror and COMMIT: the mirror's positions are taken over, pads may be lost and
    are never reused anything else     the database (or the mirror) is an old copy: RollbackDetected, the node does
    not start

The mirror file also carries the lock that keeps a second process out.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from controller.errors import StorageFailure
from controller.keys import schema
from controller.keys.errors import RollbackDetected, StoreExists, StoreInUse, StoreMissing
from controller.trust.pads import POOLS

_SLOT_BYTES = 512
_MIRROR = struct.Struct(f">8sQq{len(POOLS)}Q")
_MAGIC = b"QKDMIRR1"
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "busy_timeout=5000")


@dataclass(frozen=True)
class Counters:
    """What never goes back: number of transactions, last round (-1 before the first), next byte per pool in the order
    of POOLS.
    """

    generation: int
    last_round: int
    next_offsets: tuple[int, ...]


class Mirror:
    """Counters in two alternating slots of a small file: a torn write leaves the other slot."""

    def __init__(self, path: Path, *, create: bool) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        self._path = path
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise StoreExists(f"{path} exists already") from error
        except OSError as error:
            raise StoreMissing(f"{path}: mirror counter cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreInUse(f"{path} is locked by another process", remedy="stop the other node first") from error

    def write(self, counters: Counters) -> None:
        """Store and flush. Raises StorageFailure when the disk refuses."""
        body = _MIRROR.pack(_MAGIC, counters.generation, counters.last_round, *counters.next_offsets)
        record = (body + hashlib.sha256(body).digest()).ljust(_SLOT_BYTES, b"\0")
        try:
            os.pwrite(self._descriptor, record, counters.generation % 2 * _SLOT_BYTES)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise StorageFailure(f"{self._path}: {error.strerror}", remedy="make room on the disk") from error

    def read(self) -> Counters:
        """The newest intact slot. Raises RollbackDetected if there is none."""
        found = [counters for slot in (0, 1) if (counters := self._slot(slot)) is not None]
        if not found:
            raise RollbackDetected(
                f"{self._path} holds no intact counter", remedy="start again with a new pre-shared key"
            )
        return max(found, key=lambda counters: counters.generation)

    def _slot(self, slot: int) -> Counters | None:
        record = os.pread(self._descriptor, _SLOT_BYTES, slot * _SLOT_BYTES)
        body, digest = record[: _MIRROR.size], record[_MIRROR.size : _MIRROR.size + 32]
        if len(body) < _MIRROR.size or hashlib.sha256(body).digest() != digest:
            return None
        magic, generation, last_round, *offsets = _MIRROR.unpack(body)
        return Counters(generation, last_round, tuple(offsets)) if magic == _MAGIC else None

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


def _on_connect(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are ours: BEGIN IMMEDIATE below
    for pragma in _PRAGMAS:
        connection.cursor().execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class Database:
    """One connection, one lock, transactions that move the mirror first. Safe to use from several threads."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        if create and path.exists():
            raise StoreExists(f"{path} exists already")
        if not create and not path.exists():
            raise StoreMissing(f"{path} does not exist", remedy="put the pre-shared key file where [trust] psk says")
        self._mirror = Mirror(path.with_name(path.name + ".mirror"), create=create)
        self._lock = threading.RLock()
        self._is_closed = False
        # hide_parameters: an error message must not carry what was being stored.
        self._engine = sa.create_engine(
            f"sqlite:///{path}", poolclass=StaticPool, connect_args={"check_same_thread": False}, hide_parameters=True
        )
        sa.event.listen(self._engine, "connect", _on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)
        if create:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A consistent view; nothing may be written."""
        with self._lock, self._storage_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Everything inside happens durably and at once, or not at all. Raises StorageFailure when the disk refuses."""
        with self._lock, self._storage_errors(), self._engine.begin() as connection:
            yield connection
            connection.execute(sa.update(schema.node).values(generation=schema.node.c.generation + 1))
            self._mirror.write(self._counters(connection))

    def create_tables(self) -> None:
        """Make the empty tables (before the first transaction)."""
        with self._lock, self._storage_errors(), self._engine.begin() as connection:
            schema.metadata.create_all(connection)

    def catch_up(self) -> Counters | None:
        """Compare with the mirror: None when equal, the mirror's counters when it is one step ahead, else
        RollbackDetected.
        """
        mirrored = self._mirror.read()
        with self.reading() as connection:
            stored = self._counters(connection)
        if stored == mirrored:
            return None
        if mirrored.generation == stored.generation + 1:
            return mirrored
        raise RollbackDetected(
            f"{self.path} is at step {stored.generation}, its mirror at {mirrored.generation}: one is an old copy",
            remedy="never restore a store; start the link again with a new pre-shared key",
        )

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database and truncate it, so that erased records leave it as well."""
        with self._lock, self._storage_errors():
            raw = self._engine.raw_connection()
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def close(self) -> None:
        """Close the database and release the lock; a second time changes nothing."""
        with self._lock:
            if self._is_closed:
                return
            try:
                self.checkpoint()
            finally:
                self._is_closed = True
                self._engine.dispose()
                self._mirror.close()

    @staticmethod
    def _counters(connection: sa.Connection) -> Counters:
        row = connection.execute(sa.select(schema.node.c.generation, schema.node.c.last_round)).one()
        pools = schema.pools.c
        rows = connection.execute(sa.select(pools.region, pools.direction, pools.next_offset))
        offsets = {(region, direction): offset for region, direction, offset in rows}
        return Counters(row.generation, row.last_round, tuple(offsets[pool] for pool in POOLS))

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        if self._is_closed:
            raise StorageFailure(f"{self.path} is closed")
        try:
            yield
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            raise StorageFailure(f"{self.path}: {cause}", remedy="look at the disk: is it full?") from error
