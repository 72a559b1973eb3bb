"""Keys in the store: cut from ready rounds, taken by the master's KME, promised to the slaves, delivered once.

A block is cut into chunks of 256 bits, each with its own key_ID that both nodes derive from public data. Chunks of
even index may be given out as master by Alice's KME, those of odd index by Bob's, so both never promise the same
bits. A key of another size is the run of the master's next chunks of the same round (index i, i+2, ...), cut to size;
it carries the key_ID of its first chunk, and what is left over of the last one is destroyed with it.

    master's side   ready ─ reserve ▶ reserved ─ deliver_master ▶ delivered      (withdraw: reserved ▶ withdrawn;
    release: back to ready) slave's side    ready ─ record_notice ▶ entitled ─ deliver_slave, by every entitled SAE ▶
    delivered chunks behind the first one of a longer key:  ready ▶ merged

Material is erased in the transaction that delivers it, and that transaction is durable before the caller gets a byte:
a reply that is lost loses the key.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from controller.keys.database import Database
from controller.keys.envelope import Envelope, wipe
from controller.keys.errors import KeyNotFound, NotEnoughKeys, NotEntitled, NoticeRefused
from controller.keys.schema import deliveries, keys
from controller.trust.pads import NodeName

CHUNK_BITS = 256
MAX_KEY_BITS = 4096
NODES: tuple[NodeName, NodeName] = ("alice", "bob")


@dataclass(frozen=True)
class ReservedKey:
    """A key that was taken out of the ready ones; its material has not left the store."""

    key_id: str
    size_bits: int


@dataclass(frozen=True, repr=False)
class DeliveredKey:
    """Key material on its way to its consumer. No other copy is left for this consumer in the store."""

    key_id: str
    material: bytearray

    def __repr__(self) -> str:
        return f"DeliveredKey({self.key_id}, {8 * len(self.material)} bits)"


@dataclass(frozen=True)
class KeyCounts:
    """Numbers of keys of 256 bits (ready) and of promised keys of any size."""

    ready_as_master: int
    ready_as_slave: int
    reserved: int
    entitled: int
    keys_delivered: int
    withdrawn: int

    @property
    def keys_ready(self) -> int:
        """Keys of 256 bits that neither side has promised yet."""
        return self.ready_as_master + self.ready_as_slave

    @property
    def bits_ready(self) -> int:
        """The same in bits."""
        return CHUNK_BITS * self.keys_ready


def key_id(psk_serial: bytes, link_id: str, epoch: int, round_number: int, chunk: int) -> uuid.UUID:
    """UUID (version 8) from public data alone: SHA-256("QKD-KID/1" | serial | LP(link) | epoch | round | index), 128
    bits.
    """
    link = link_id.encode()
    text = b"QKD-KID/1" + psk_serial + len(link).to_bytes(4, "big") + link
    text += b"".join(number.to_bytes(8, "big") for number in (epoch, round_number, chunk))
    value = bytearray(hashlib.sha256(text).digest()[:16])
    value[6] = 0x80 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    return uuid.UUID(bytes=bytes(value))


def chunks_needed(size_bits: int) -> int:
    """Chunks in a key of this size. Raises ValueError unless it is a multiple of 8 from 8 to 4096."""
    if not 8 <= size_bits <= MAX_KEY_BITS or size_bits % 8:
        raise ValueError(f"key size {size_bits} bits is not a multiple of 8 from 8 to {MAX_KEY_BITS}")
    return -(-size_bits // CHUNK_BITS)


def _place(raw_id: bytes) -> bytes:
    return b"key|" + raw_id


def _raw(key_ids: Iterable[str]) -> list[bytes]:
    try:
        raw = [uuid.UUID(key_id).bytes for key_id in key_ids]
    except ValueError as error:
        raise KeyNotFound("a key_ID is not a UUID") from error
    if len(set(raw)) != len(raw):
        raise KeyNotFound("a key_ID is named twice")
    return raw


class KeyShelf:
    """Keys of one node. Methods named with a connection run inside the caller's transaction."""

    def __init__(self, database: Database, envelope: Envelope, node: NodeName, link_id: str, psk_serial: bytes) -> None:
        self._database = database
        self._envelope = envelope
        self._node = node
        self._peer: NodeName = NODES[1 - NODES.index(node)]
        self._link_id = link_id
        self._psk_serial = psk_serial

    def put(self, connection: sa.Connection, epoch: int, round_number: int, material: memoryview) -> None:
        """Cut a block into keys; the last bits that do not fill a chunk are destroyed."""
        rows: list[dict[str, object]] = []
        for chunk in range(8 * len(material) // CHUNK_BITS):
            raw_id = key_id(self._psk_serial, self._link_id, epoch, round_number, chunk).bytes
            piece = material[chunk * CHUNK_BITS // 8 : (chunk + 1) * CHUNK_BITS // 8]
            rows.append(
                {
                    "key_id": raw_id,
                    "epoch": epoch,
                    "round": round_number,
                    "chunk": chunk,
                    "master": NODES[chunk % 2],
                    "state": "ready",
                    "size_bits": CHUNK_BITS,
                    "sealed": self._envelope.seal(piece, _place(raw_id)),
                }
            )
        if rows:
            connection.execute(sa.insert(keys), rows)

    def reserve(
        self, master_sae: str, slave_saes: Sequence[str], number: int, size_bits: int
    ) -> tuple[ReservedKey, ...]:
        """Take `number` keys for these consumers, durably; all or none (NotEnoughKeys)."""
        length = chunks_needed(size_bits)
        if number < 1 or not slave_saes:
            raise ValueError("at least one key and one slave SAE")
        with self._database.transaction() as connection:
            runs = self._free_runs(connection, number, length)
            if len(runs) < number:
                raise NotEnoughKeys(f"{number} keys of {size_bits} bits asked for, {len(runs)} in store")
            self._promise(connection, runs, "reserved", master_sae, [], size_bits)
        return tuple(ReservedKey(str(uuid.UUID(bytes=run[0])), size_bits) for run in runs)

    def release(self, key_ids: Sequence[str]) -> None:
        """Put reserved keys back, only if it is certain that their notice never left this node."""
        with self._database.transaction() as connection:
            for row in self._rows(connection, _raw(key_ids), "reserved"):
                run = [member.key_id for member in self._run(connection, row)]
                values = {"state": "ready", "master_sae": None, "size_bits": CHUNK_BITS}
                connection.execute(sa.update(keys).where(keys.c.key_id.in_(run)).values(values))

    def withdraw(self, key_ids: Sequence[str]) -> None:
        """Destroy reserved keys whose notice may or may not have arrived: nobody will get them as master any more."""
        with self._database.transaction() as connection:
            for row in self._rows(connection, _raw(key_ids), "reserved"):
                self._erase(connection, row, "withdrawn")

    def withdraw_all_reserved(self, connection: sa.Connection) -> None:
        """After a crash: what was reserved and not delivered is destroyed."""
        for row in connection.execute(sa.select(keys).where(keys.c.state == "reserved")).all():
            self._erase(connection, row, "withdrawn")

    def deliver_master(self, key_ids: Sequence[str], sae: str) -> tuple[DeliveredKey, ...]:
        """Reserved keys to their master SAE, erased here before this returns. All or none (KeyNotFound,
        NotEntitled)."""
        with self._database.transaction() as connection:
            rows = self._rows(connection, _raw(key_ids), "reserved")
            if any(row.master_sae != sae for row in rows):
                raise NotEntitled("a key was reserved for another master SAE")
            delivered = tuple(self._open(connection, row) for row in rows)
            for row in rows:
                self._erase(connection, row, "delivered")
        return delivered

    def record_notice(self, master_sae: str, slave_saes: Sequence[str], key_ids: Sequence[str], size_bits: int) -> None:
        """The peer's KME gave these keys to `master_sae`: durably entitle the slave SAEs. All or none; a repetition
        is accepted.

        Raises NoticeRefused if a key is not here, is not the peer's to give, or was promised differently.
        """
        try:
            length, raw_ids = chunks_needed(size_bits), _raw(key_ids)
        except (ValueError, KeyNotFound) as error:
            raise NoticeRefused(f"delivery notice: {error}") from error
        if not slave_saes or len(set(slave_saes)) != len(slave_saes):
            raise NoticeRefused("delivery notice: slave SAEs are missing or repeated")
        with self._database.transaction() as connection:
            known = connection.execute(sa.select(keys).where(keys.c.key_id.in_(raw_ids))).all()
            if len(known) != len(raw_ids) or any(row.master != self._peer for row in known):
                raise NoticeRefused("delivery notice: a key is unknown here or not the peer's to give")
            fresh = [row for row in known if not self._is_repeated(connection, row, master_sae, slave_saes, size_bits)]
            runs = [self._notified_run(connection, row, length) for row in fresh]
            if len({raw_id for run in runs for raw_id in run}) != length * len(runs):
                raise NoticeRefused("delivery notice: two keys share bits")
            self._promise(connection, runs, "entitled", master_sae, slave_saes, size_bits)

    def deliver_slave(self, key_ids: Sequence[str], sae: str, master_sae: str) -> tuple[DeliveredKey, ...]:
        """Promised keys to one entitled SAE, once; erased with the last entitled delivery. All or none.

        Raises KeyNotFound for unknown or already delivered keys, NotEntitled if this SAE was not named for one of them.
        """
        raw_ids = _raw(key_ids)
        with self._database.transaction() as connection:
            rows = self._rows(connection, raw_ids, "entitled", "delivered")
            query = sa.select(deliveries.c.key_id, deliveries.c.is_delivered)
            query = query.where(deliveries.c.sae == sae, deliveries.c.key_id.in_(raw_ids))
            mine = {row.key_id: row.is_delivered for row in connection.execute(query)}
            if any(row.key_id not in mine or row.master_sae != master_sae for row in rows):
                raise NotEntitled("this SAE was not named when the keys were taken")
            if any(mine.values()):
                raise KeyNotFound("one or more keys were delivered already")
            delivered = tuple(self._open(connection, row) for row in rows)
            done = (deliveries.c.sae == sae) & deliveries.c.key_id.in_(raw_ids)
            connection.execute(sa.update(deliveries).where(done).values(is_delivered=1))
            for row in rows:
                waiting = (deliveries.c.key_id == row.key_id) & (deliveries.c.is_delivered == 0)
                if connection.execute(sa.select(sa.func.count()).where(waiting)).scalar_one() == 0:
                    self._erase(connection, row, "delivered")
        return delivered

    def key_ids(self, round_number: int) -> tuple[str, ...]:
        """The key_IDs of a round in the order of its chunks."""
        query = sa.select(keys.c.key_id).where(keys.c.round == round_number).order_by(keys.c.chunk)
        with self._database.reading() as connection:
            return tuple(str(uuid.UUID(bytes=raw_id)) for raw_id in connection.execute(query).scalars())

    def counts(self) -> KeyCounts:
        """How many keys are in which state."""
        query = sa.select(keys.c.state, keys.c.master, sa.func.count()).group_by(keys.c.state, keys.c.master)
        with self._database.reading() as connection:
            found = {(state, master): count for state, master, count in connection.execute(query)}

        def total(state: str) -> int:
            return found.get((state, "alice"), 0) + found.get((state, "bob"), 0)

        return KeyCounts(
            ready_as_master=found.get(("ready", self._node), 0),
            ready_as_slave=found.get(("ready", self._peer), 0),
            reserved=total("reserved"),
            entitled=total("entitled"),
            keys_delivered=total("delivered"),
            withdrawn=total("withdrawn"),
        )

    def _free_runs(self, connection: sa.Connection, number: int, length: int) -> list[list[bytes]]:
        """Up to `number` runs of `length` of the own ready chunks, oldest first, each within one round."""
        query = sa.select(keys.c.key_id, keys.c.round, keys.c.chunk)
        query = query.where(keys.c.state == "ready", keys.c.master == self._node).order_by(keys.c.round, keys.c.chunk)
        runs: list[list[bytes]] = []
        run: list[bytes] = []
        wanted = (-1, -1)
        with connection.execute(query) as rows:
            for row in rows:
                if (row.round, row.chunk) != wanted:
                    run = []
                run.append(row.key_id)
                wanted = (row.round, row.chunk + 2)
                if len(run) == length:
                    runs.append(run)
                    run = []
                if len(runs) == number:
                    break
        return runs

    def _notified_run(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]], length: int) -> list[bytes]:
        wanted = [row.chunk + 2 * step for step in range(length)]
        query = sa.select(keys.c.key_id).where(
            keys.c.round == row.round, keys.c.chunk.in_(wanted), keys.c.state == "ready"
        )
        run = list(connection.execute(query.order_by(keys.c.chunk)).scalars())
        if len(run) != length:
            raise NoticeRefused(
                "delivery notice: a key was promised before, or is longer than what is left of its round"
            )
        return run

    @staticmethod
    def _promise(
        connection: sa.Connection,
        runs: list[list[bytes]],
        state: str,
        master_sae: str,
        slave_saes: Sequence[str],
        size_bits: int,
    ) -> None:
        """Mark first chunks with `state` and the others as merged, and write who is entitled."""
        first, rest = [run[0] for run in runs], [raw_id for run in runs for raw_id in run[1:]]
        promised = {"state": state, "master_sae": master_sae, "size_bits": size_bits}
        by_id = keys.c.key_id == sa.bindparam("id_")
        if first:
            connection.execute(sa.update(keys).where(by_id).values(promised), [{"id_": raw_id} for raw_id in first])
        if rest:
            connection.execute(
                sa.update(keys).where(by_id).values(state="merged"), [{"id_": raw_id} for raw_id in rest]
            )
        rows = [{"key_id": raw_id, "sae": sae, "is_delivered": 0} for raw_id in first for sae in slave_saes]
        if rows:
            connection.execute(sa.insert(deliveries), rows)

    @staticmethod
    def _is_repeated(
        connection: sa.Connection,
        row: sa.Row[tuple[object, ...]],
        master_sae: str,
        slave_saes: Sequence[str],
        size_bits: int,
    ) -> bool:
        named = set(connection.execute(sa.select(deliveries.c.sae).where(deliveries.c.key_id == row.key_id)).scalars())
        is_same = row.master_sae == master_sae and named == set(slave_saes) and row.size_bits == size_bits
        return is_same and row.state in ("entitled", "delivered")

    @staticmethod
    def _rows(connection: sa.Connection, raw_ids: list[bytes], *states: str) -> list[sa.Row[tuple[object, ...]]]:
        """Rows in the order asked for. Raises KeyNotFound if one is missing or in another state."""
        found = {row.key_id: row for row in connection.execute(sa.select(keys).where(keys.c.key_id.in_(raw_ids)))}
        rows = [found[raw_id] for raw_id in raw_ids if raw_id in found and found[raw_id].state in states]
        if len(rows) != len(raw_ids):
            raise KeyNotFound("one or more keys specified are not found on KME")
        return rows

    @staticmethod
    def _run(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> list[sa.Row[tuple[object, ...]]]:
        """All chunks of a promised key, first one first."""
        wanted = [row.chunk + 2 * step for step in range(chunks_needed(row.size_bits))]
        query = sa.select(keys).where(keys.c.round == row.round, keys.c.chunk.in_(wanted)).order_by(keys.c.chunk)
        return list(connection.execute(query))

    def _open(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> DeliveredKey:
        material = bytearray()
        for member in self._run(connection, row):
            if member.sealed is None:
                raise KeyNotFound("one or more keys specified are not found on KME")
            chunk = self._envelope.open(member.sealed, _place(member.key_id))
            material += chunk
            wipe(chunk)
        surplus = len(material) - row.size_bits // 8
        if surplus:
            material[-surplus:] = bytes(surplus)
            del material[-surplus:]
        return DeliveredKey(str(uuid.UUID(bytes=row.key_id)), material)

    def _erase(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]], state: str) -> None:
        run = [member.key_id for member in self._run(connection, row)]
        connection.execute(sa.update(keys).where(keys.c.key_id.in_(run)).values(sealed=None))
        connection.execute(sa.update(keys).where(keys.c.key_id == row.key_id).values(state=state))
