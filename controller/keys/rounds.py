"""Rounds in the store: the durable side of the ordered commit (protocol §3.10).

    Alice   open ── save_pending ─▶ pending ── decide ─▶ committed ── make_ready ─▶ ready
              └──────── drop ─────────┴──▶ dropped            (never back from committed)
    Bob     open ── save_pending ─▶ pending ───────────────────────── make_ready ─▶ ready
              └── drop ─▶ dropped ◀── drop_on_word_of_alice ──┘

Alice's COMMIT decides. Bob makes a pending round ready on her tag, or drops it on her authenticated word that she
never decided; never by himself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import sqlalchemy as sa

from controller.keys import schema
from controller.keys.database import Database
from controller.keys.envelope import Envelope, wipe
from controller.keys.errors import RefillMismatch, RoundStateError
from controller.keys.key_shelf import KeyShelf
from controller.keys.pad_pools import PadPools
from controller.trust.pads import NodeName, RefillLayout

RoundState = Literal["open", "pending", "committed", "ready", "dropped"]
_UNSETTLED = ("open", "pending", "committed")


@dataclass(frozen=True)
class UnsettledRound:
    """A round that is neither ready nor dropped."""

    epoch: int
    round: int
    state: RoundState


def _place(round_number: int, bits: int) -> bytes:
    return f"round|{round_number}|{bits}".encode()


class Rounds:
    """States and pending secrets of rounds."""

    def __init__(
        self, database: Database, envelope: Envelope, node: NodeName, pools: PadPools, shelf: KeyShelf
    ) -> None:
        self._database = database
        self._envelope = envelope
        self._node = node
        self._pools = pools
        self._shelf = shelf

    def open_round(self, epoch: int, round_number: int) -> None:
        """Durably begin a round. Raises RoundStateError unless round is above all before and epoch is not below the
        last.
        """
        with self._database.transaction() as connection:
            last = connection.execute(sa.select(schema.node.c.epoch, schema.node.c.last_round)).one()
            if round_number <= last.last_round or epoch < last.epoch:
                raise RoundStateError(
                    f"round {round_number} of epoch {epoch} does not follow "
                    f"round {last.last_round} of epoch {last.epoch}"
                )
            connection.execute(sa.update(schema.node).values(epoch=epoch, last_round=round_number))
            connection.execute(sa.insert(schema.rounds).values(round=round_number, epoch=epoch, state="open"))

    def last_round(self) -> int:
        """Highest round ever opened here; -1 before the first."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(schema.node.c.last_round)).scalar_one()

    def epoch(self) -> int:
        """The present epoch."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(schema.node.c.epoch)).scalar_one()

    def save_pending(
        self, round_number: int, secret: bytes | bytearray, bits: int, refill: RefillLayout, record: bytes
    ) -> None:
        """Durably keep the amplified key of an open round.

        `secret` is packed little-endian, ceil(bits/8) bytes; `refill` says which of its first bytes go to the pools;
        `record` is public.
        """
        if len(secret) != -(-bits // 8) or bits <= 0:
            raise ValueError(f"{len(secret)} bytes cannot be a key of {bits} bits")
        if 8 * refill.total_bytes > bits:
            raise RefillMismatch(f"a refill of {refill.total_bytes} bytes does not fit into a block of {bits} bits")
        with self._database.transaction() as connection:
            self._require(connection, round_number, "open")
            self._set(
                connection,
                round_number,
                state="pending",
                bits=bits,
                refill=refill.encode(),
                record=record,
                sealed=self._envelope.seal(secret, _place(round_number, bits)),
            )

    def decide(self, round_number: int) -> None:
        """Alice's durable COMMIT: from here on the block exists. Repeating it changes nothing."""
        if self._node != "alice":
            raise RoundStateError(f"round {round_number}: only Alice decides")
        with self._database.transaction() as connection:
            if self._require(connection, round_number, "pending", "committed", "ready") == "pending":
                self._set(connection, round_number, state="committed")

    def make_ready(self, round_number: int) -> None:
        """Cut the block into pools and keys and mark it ready, in one transaction. Repeating it changes nothing."""
        source: RoundState = "committed" if self._node == "alice" else "pending"
        with self._database.transaction() as connection:
            if self._require(connection, round_number, source, "ready") == "ready":
                return
            row = connection.execute(sa.select(schema.rounds).where(schema.rounds.c.round == round_number)).one()
            secret = self._envelope.open(row.sealed, _place(round_number, row.bits))
            layout = RefillLayout.decode(row.refill)
            view = memoryview(secret)
            self._pools.refill(connection, layout, view)
            usable = view[layout.total_bytes : row.bits // 8]
            self._shelf.put(connection, row.epoch, round_number, usable)
            self._set(connection, round_number, state="ready", sealed=None)
            wipe(secret)
        self._database.checkpoint()

    def drop(self, round_number: int) -> None:
        """Give up a round that cannot have been decided: open on either node, pending on Alice. Erases its secret."""
        allowed: tuple[RoundState, ...] = ("open", "pending") if self._node == "alice" else ("open",)
        self._drop(round_number, allowed)

    def drop_on_word_of_alice(self, round_number: int) -> None:
        """Bob's side of a resynchronisation: Alice has said, authenticated, that she never decided this round."""
        self._drop(round_number, ("open", "pending"))

    def unsettled(self) -> tuple[UnsettledRound, ...]:
        """Rounds to settle with the peer, oldest first."""
        table = schema.rounds.c
        query = (
            sa.select(table.epoch, table.round, table.state).where(table.state.in_(_UNSETTLED)).order_by(table.round)
        )
        with self._database.reading() as connection:
            return tuple(UnsettledRound(row.epoch, row.round, row.state) for row in connection.execute(query))

    def settled(self, round_number: int) -> RoundState | None:
        """State of a round, None if it was never opened here."""
        with self._database.reading() as connection:
            return self._state(connection, round_number)

    def record(self, round_number: int) -> bytes | None:
        """The public record of a round, None before it was pending."""
        query = sa.select(schema.rounds.c.record).where(schema.rounds.c.round == round_number)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _drop(self, round_number: int, allowed: tuple[RoundState, ...]) -> None:
        with self._database.transaction() as connection:
            if self._require(connection, round_number, *allowed, "dropped") != "dropped":
                self._set(connection, round_number, state="dropped", sealed=None)
        self._database.checkpoint()

    @staticmethod
    def _state(connection: sa.Connection, round_number: int) -> RoundState | None:
        query = sa.select(schema.rounds.c.state).where(schema.rounds.c.round == round_number)
        return cast(RoundState | None, connection.execute(query).scalar_one_or_none())

    def _require(self, connection: sa.Connection, round_number: int, *allowed: RoundState) -> RoundState:
        state = self._state(connection, round_number)
        if state is None or state not in allowed:
            raise RoundStateError(
                f"round {round_number} at {self._node} is {state or 'unknown'}, needed: {' or '.join(allowed)}"
            )
        return state

    @staticmethod
    def _set(connection: sa.Connection, round_number: int, **values: object) -> None:
        connection.execute(sa.update(schema.rounds).where(schema.rounds.c.round == round_number).values(**values))
