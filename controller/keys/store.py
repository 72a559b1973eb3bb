"""The store of a node: authentication pools, rounds and keys in one database, opened by one process.

`NodeStore` composes the three and owns their life; each part says in its own file what it promises. Every method is
safe to call from several threads, blocks for some milliseconds (a flush to disk), and is durable when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import cast

import sqlalchemy as sa

from controller.errors import StorageFailure
from controller.keys import schema
from controller.keys.database import Database
from controller.keys.envelope import Envelope
from controller.keys.key_shelf import DeliveredKey, KeyCounts, KeyShelf, ReservedKey
from controller.keys.pad_pools import PadPools
from controller.keys.rounds import Rounds, RoundState, UnsettledRound
from controller.trust.pads import POOLS, NodeName, Pad, PadDirection, RefillLayout, RefillSizes, Region
from controller.trust.psk import PskBundle

BurnReport = Callable[[Region, PadDirection, int, int], None]  # pool, first byte, number of bytes
FIRST_EPOCH = 1  # a pre-shared key that is the first pool starts the link in an information-theoretic epoch


def _report_nowhere(region: Region, direction: PadDirection, offset: int, n_bytes: int) -> None:
    """Nobody keeps account of burnt pads."""


class NodeStore:
    """One node's durable secrets. Make it once with `create`, afterwards `open` it."""

    def __init__(self, database: Database, envelope: Envelope, link_id: str, node: NodeName, psk_serial: bytes) -> None:
        self.link_id = link_id
        self.node = node
        self.psk_serial = psk_serial
        self._database = database
        self._pools = PadPools(database, envelope)
        self._shelf = KeyShelf(database, envelope, node, link_id, psk_serial)
        self._rounds = Rounds(database, envelope, node, self._pools, self._shelf)
        self._report_burn: BurnReport = _report_nowhere

    @classmethod
    def create(cls, path: Path, kek: bytes, *, link_id: str, node: NodeName, psk: PskBundle) -> NodeStore:
        """A new store whose pools are those of a pre-shared key. Raises StoreExists; never overwrites."""
        database = Database(path, create=True)
        database.create_tables()
        envelope, wrapped = Envelope.create(kek)
        store = cls(database, envelope, link_id, node, psk.serial)
        with database.transaction() as connection:
            connection.execute(
                sa.insert(schema.node).values(
                    id=1,
                    schema_version=schema.SCHEMA_VERSION,
                    link_id=link_id,
                    node=node,
                    psk_serial=psk.serial,
                    wrapped_data_key=wrapped,
                    generation=0,
                    epoch=FIRST_EPOCH,
                    last_round=-1,
                )
            )
            for region, direction in POOLS:
                empty = {"region": region, "direction": direction, "next_offset": 0, "end_offset": 0}
                connection.execute(sa.insert(schema.pools).values(empty))
                store._pools.append(connection, region, direction, memoryview(psk.pool(region, direction)))
        return store

    @classmethod
    def open(cls, path: Path, kek: bytes) -> NodeStore:
        """An existing store. Raises StoreMissing, StoreInUse, RollbackDetected, SealBroken (wrong key-encryption key).

        What a crash left half done is finished: positions of the mirror are taken over, reserved keys are withdrawn.
        """
        database = Database(path, create=False)
        try:
            ahead = database.catch_up()
            with database.reading() as connection:
                row = connection.execute(sa.select(schema.node)).one()
            if row.schema_version != schema.SCHEMA_VERSION:
                raise StorageFailure(
                    f"{path} has schema {row.schema_version}, this program needs {schema.SCHEMA_VERSION}"
                )
            envelope = Envelope.unwrap(kek, row.wrapped_data_key)
            store = cls(database, envelope, row.link_id, cast(NodeName, row.node), row.psk_serial)
            with database.transaction() as connection:
                if ahead is not None:
                    store._pools.catch_up(connection, ahead)
                    last_round = sa.func.max(schema.node.c.last_round, ahead.last_round)
                    connection.execute(sa.update(schema.node).values(last_round=last_round))
                store._shelf.withdraw_all_reserved(connection)
            database.checkpoint()
        except BaseException:
            database.close()
            raise
        return store

    def close(self) -> None:
        """Release database and lock; the store cannot be used afterwards."""
        self._database.close()

    def __enter__(self) -> NodeStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"NodeStore({self.node} of {self.link_id}, {self._database.path.name})"

    # --- authentication pools (controller.keys.pad_pools) ---

    def burn(self, region: Region, direction: PadDirection, n_bytes: int, at_offset: int | None = None) -> Pad:
        """Take pad bytes, erased durably before this returns. PadRefused or PoolStarved: nothing was burnt."""
        pad = self._pools.burn(region, direction, n_bytes, at_offset)
        self._report_burn(region, direction, pad.offset, n_bytes)
        return pad

    def report_burns(self, report: BurnReport) -> None:
        """Tell `report` where every pad stood, after it was erased and before it is used; never its bytes."""
        self._report_burn = report

    def skip_to(self, region: Region, direction: PadDirection, offset: int) -> None:
        """Burn up to a position that the peer has named authenticated; behind the own one nothing happens."""
        self._pools.skip_to(region, direction, offset)

    def next_offset(self, region: Region, direction: PadDirection) -> int:
        """Absolute position of the first byte that is not burnt."""
        return self._pools.next_offset(region, direction)

    def levels(self) -> dict[tuple[Region, PadDirection], int]:
        """Bytes left per pool."""
        return self._pools.levels()

    def consumed_by_region(self) -> dict[Region, int]:
        """Bits burnt per region since the link began."""
        return self._pools.consumed_by_region()

    def consumed_bits(self) -> int:
        """Bits burnt in all regions since the link began."""
        return sum(self._pools.consumed_by_region().values())

    def bits_left(self) -> int:
        """Bits left in all pools."""
        return 8 * sum(self._pools.levels().values())

    def rounds_left(self, ab_bytes: int = 32, ba_bytes: int = 96) -> int:
        """How many rounds the pools of region `round` last, at these pad bytes per round and direction."""
        levels = self._pools.levels()
        return min(levels["round", "ab"] // ab_bytes, levels["round", "ba"] // ba_bytes)

    def refill_needs(self, target: RefillSizes) -> RefillSizes:
        """What brings the emptier direction of each region up to `target`."""
        return self._pools.refill_needs(target)

    def refill_layout(self, sizes: RefillSizes) -> RefillLayout:
        """Where a refill of these sizes goes: equal on both nodes."""
        return self._pools.refill_layout(sizes)

    # --- rounds (controller.keys.rounds) ---

    def open_round(self, epoch: int, round_number: int) -> None:
        """Durably begin a round, above all before."""
        self._rounds.open_round(epoch, round_number)

    def last_round(self) -> int:
        """Highest round ever opened here; -1 before the first."""
        return self._rounds.last_round()

    @property
    def epoch(self) -> int:
        """The present epoch."""
        return self._rounds.epoch()

    def save_pending(
        self, round_number: int, secret: bytes | bytearray, bits: int, refill: RefillLayout, record: bytes
    ) -> None:
        """Durably keep the amplified key (packed little-endian) of an open round."""
        self._rounds.save_pending(round_number, secret, bits, refill, record)

    def decide(self, round_number: int) -> None:
        """Alice's durable COMMIT."""
        self._rounds.decide(round_number)

    def make_ready(self, round_number: int) -> None:
        """Cut the block into pools and keys, in one transaction; idempotent."""
        self._rounds.make_ready(round_number)

    def drop(self, round_number: int) -> None:
        """Give up a round that cannot have been decided."""
        self._rounds.drop(round_number)

    def drop_on_word_of_alice(self, round_number: int) -> None:
        """Bob drops a pending round because Alice said, authenticated, that she never decided it."""
        self._rounds.drop_on_word_of_alice(round_number)

    def unsettled(self) -> tuple[UnsettledRound, ...]:
        """Rounds to settle with the peer, oldest first."""
        return self._rounds.unsettled()

    def settled(self, round_number: int) -> RoundState | None:
        """State of a round, None if it was never opened here."""
        return self._rounds.settled(round_number)

    def record(self, round_number: int) -> bytes | None:
        """The public record of a round."""
        return self._rounds.record(round_number)

    # --- keys (controller.keys.key_shelf) ---

    def reserve(
        self, master_sae: str, slave_saes: Sequence[str], number: int, size_bits: int
    ) -> tuple[ReservedKey, ...]:
        """Take keys for these consumers; all or none (NotEnoughKeys)."""
        return self._shelf.reserve(master_sae, slave_saes, number, size_bits)

    def release(self, key_ids: Sequence[str]) -> None:
        """Put reserved keys back: their notice never left this node."""
        self._shelf.release(key_ids)

    def withdraw(self, key_ids: Sequence[str]) -> None:
        """Destroy reserved keys whose notice may or may not have arrived."""
        self._shelf.withdraw(key_ids)

    def record_notice(self, master_sae: str, slave_saes: Sequence[str], key_ids: Sequence[str], size_bits: int) -> None:
        """Entitle the slave SAEs that the peer's KME named; all or none (NoticeRefused), repetition accepted."""
        self._shelf.record_notice(master_sae, slave_saes, key_ids, size_bits)

    def deliver_master(self, key_ids: Sequence[str], sae: str) -> tuple[DeliveredKey, ...]:
        """Reserved keys to their master SAE, erased here."""
        return self._shelf.deliver_master(key_ids, sae)

    def deliver_slave(self, key_ids: Sequence[str], sae: str, master_sae: str) -> tuple[DeliveredKey, ...]:
        """Promised keys to one entitled SAE, exactly once."""
        return self._shelf.deliver_slave(key_ids, sae, master_sae)

    def key_ids(self, round_number: int) -> tuple[str, ...]:
        """The key_IDs that a round was cut into, in order; empty unless it is ready."""
        return self._shelf.key_ids(round_number)

    def counts(self) -> KeyCounts:
        """How many keys are in which state."""
        return self._shelf.counts()
