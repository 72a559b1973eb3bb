"""Authentication pools in the store: burnt before they are used, erased when they are burnt, refilled at absolute
positions.
"""

from __future__ import annotations

import sqlalchemy as sa

from controller.keys.database import Counters, Database
from controller.keys.envelope import Envelope, wipe
from controller.keys.errors import RefillMismatch
from controller.keys.schema import pad_chunks, pools
from controller.trust.errors import PadRefused, PoolStarved
from controller.trust.pads import (
    MAX_SKIP_BYTES,
    POOLS,
    REGIONS,
    Pad,
    PadDirection,
    RefillEntry,
    RefillLayout,
    RefillSizes,
    Region,
)

CHUNK_BYTES = 256


def _place(region: str, direction: str, start: int) -> bytes:
    return f"pad|{region}|{direction}|{start}".encode()


class PadPools:
    """All pools of one node. Methods named with a connection run inside the caller's transaction."""

    def __init__(self, database: Database, envelope: Envelope) -> None:
        self._database = database
        self._envelope = envelope

    def burn(self, region: Region, direction: PadDirection, n_bytes: int, at_offset: int | None = None) -> Pad:
        """Take `n_bytes` from a pool; they are erased durably before this returns.

        `at_offset` is the position that the peer named (None: the own next one). Bytes that are skipped are burnt
        too. Raises PadRefused if it lies behind the own position or more than MAX_SKIP_BYTES ahead, PoolStarved if
        too few are left; nothing is burnt then.
        """
        if n_bytes <= 0:
            raise ValueError(f"a pad of {n_bytes} bytes")
        with self._database.transaction() as connection:
            first, end = self._position(connection, region, direction)
            offset = first if at_offset is None else at_offset
            if not first <= offset <= first + MAX_SKIP_BYTES:
                raise PadRefused(
                    f"pool {region}/{direction}: position {offset} is outside {first}..{first + MAX_SKIP_BYTES}",
                    remedy="resynchronise the nodes",
                )
            if offset + n_bytes > end:
                raise PoolStarved(
                    f"authentication pool {region}/{direction}: {n_bytes} bytes needed at {offset}, it ends at {end}",
                    remedy="import a new pre-shared key, or let rounds refill the pool",
                )
            data = self._take(connection, region, direction, offset, offset + n_bytes)
            self._advance(connection, region, direction, offset + n_bytes)
        return Pad(region, direction, offset, data)

    def skip_to(self, region: Region, direction: PadDirection, offset: int) -> None:
        """Burn up to a position that the peer has named authenticated, however far. Behind: nothing happens.

        Raises PadRefused beyond the end of the pool.
        """
        with self._database.transaction() as connection:
            first, end = self._position(connection, region, direction)
            if offset > end:
                raise PadRefused(f"pool {region}/{direction}: position {offset} is beyond its end {end}")
            if offset > first:
                self._take(connection, region, direction, offset, offset)
                self._advance(connection, region, direction, offset)

    def next_offset(self, region: Region, direction: PadDirection) -> int:
        """Absolute position of the first byte that is not burnt."""
        with self._database.reading() as connection:
            return self._position(connection, region, direction)[0]

    def levels(self) -> dict[tuple[Region, PadDirection], int]:
        """Bytes left per pool."""
        with self._database.reading() as connection:
            positions = {pool: self._position(connection, *pool) for pool in POOLS}
        return {pool: end - first for pool, (first, end) in positions.items()}

    def consumed_by_region(self) -> dict[Region, int]:
        """Bits burnt per region since the link began, both directions together."""
        with self._database.reading() as connection:
            positions = {pool: self._position(connection, *pool) for pool in POOLS}
        return {
            name: 8 * sum(first for (region, _), (first, _) in positions.items() if region == name) for name in REGIONS
        }

    def refill_needs(self, target: RefillSizes) -> RefillSizes:
        """What brings the emptier direction of each region up to `target` bytes, in whole pads of 32 bytes."""
        levels = self.levels()

        def need(region: Region) -> int:
            return max(0, -(-(target.of(region) - min(levels[region, "ab"], levels[region, "ba"])) // 32) * 32)

        return RefillSizes(need("round"), need("resync"), need("notice"))

    def refill_layout(self, sizes: RefillSizes) -> RefillLayout:
        """Where a refill of these sizes goes: the same on both nodes, as it depends on nothing but the ends of the
        pools.
        """
        entries: list[RefillEntry] = []
        with self._database.reading() as connection:
            for region, direction in POOLS:
                if sizes.of(region):
                    end = self._position(connection, region, direction)[1]
                    entries.append(RefillEntry(region, direction, end, sizes.of(region)))
        return RefillLayout(tuple(entries))

    def refill(self, connection: sa.Connection, layout: RefillLayout, secret: memoryview) -> None:
        """Cut the front of `secret` into the pools. Raises RefillMismatch if a position does not continue its pool."""
        at = 0
        for entry in layout.entries:
            end = self._position(connection, entry.region, entry.direction)[1]
            if entry.position != end or entry.n_bytes <= 0:
                raise RefillMismatch(
                    f"refill of {entry.n_bytes} bytes for {entry.region}/{entry.direction} "
                    f"at {entry.position}, the pool ends at {end}",
                    remedy="the nodes' pools are out of step: bootstrap again",
                )
            self.append(connection, entry.region, entry.direction, secret[at : at + entry.n_bytes])
            at += entry.n_bytes

    def append(self, connection: sa.Connection, region: Region, direction: PadDirection, data: memoryview) -> None:
        """Add bytes at the end of a pool, sealed in chunks."""
        end = self._position(connection, region, direction)[1]
        rows = [
            self._sealed_row(region, direction, end + at, data[at : at + CHUNK_BYTES])
            for at in range(0, len(data), CHUNK_BYTES)
        ]
        if rows:
            connection.execute(sa.insert(pad_chunks), rows)
        here = (pools.c.region == region) & (pools.c.direction == direction)
        connection.execute(sa.update(pools).where(here).values(end_offset=end + len(data)))

    def catch_up(self, connection: sa.Connection, counters: Counters) -> None:
        """Take over the positions of the mirror after a crash: what it says is burnt is burnt."""
        for (region, direction), offset in zip(POOLS, counters.next_offsets, strict=True):
            first, end = self._position(connection, region, direction)
            if first < offset <= end:
                wipe(self._take(connection, region, direction, offset, offset))
                self._advance(connection, region, direction, offset)

    @staticmethod
    def _position(connection: sa.Connection, region: str, direction: str) -> tuple[int, int]:
        here = (pools.c.region == region) & (pools.c.direction == direction)
        row = connection.execute(sa.select(pools.c.next_offset, pools.c.end_offset).where(here)).one()
        return row.next_offset, row.end_offset

    @staticmethod
    def _advance(connection: sa.Connection, region: str, direction: str, offset: int) -> None:
        here = (pools.c.region == region) & (pools.c.direction == direction)
        connection.execute(sa.update(pools).where(here).values(next_offset=offset))

    def _take(
        self, connection: sa.Connection, region: Region, direction: PadDirection, first: int, stop: int
    ) -> bytearray:
        """Bytes [first, stop) of a pool. Chunks below `stop` are deleted; the rest of the last one is sealed anew."""
        below = (pad_chunks.c.region == region) & (pad_chunks.c.direction == direction) & (pad_chunks.c.start < stop)
        taken = bytearray()
        rows = connection.execute(sa.select(pad_chunks).where(below).order_by(pad_chunks.c.start)).all()
        connection.execute(sa.delete(pad_chunks).where(below))
        for row in rows:
            chunk = self._envelope.open(row.sealed, _place(region, direction, row.start))
            taken += memoryview(chunk)[max(0, first - row.start) : stop - row.start]
            if row.start + row.n_bytes > stop:
                rest = self._sealed_row(region, direction, stop, memoryview(chunk)[stop - row.start :])
                connection.execute(sa.insert(pad_chunks), [rest])
            wipe(chunk)
        return taken

    def _sealed_row(self, region: Region, direction: PadDirection, start: int, data: memoryview) -> dict[str, object]:
        sealed = self._envelope.seal(data, _place(region, direction, start))
        return {"region": region, "direction": direction, "start": start, "n_bytes": len(data), "sealed": sealed}
