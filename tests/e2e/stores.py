"""Reads everything out of the stores of two nodes that have ended, and compares. Only tests may do this."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from controller.config import NodeConfig
from controller.keys import schema
from controller.keys.envelope import load_kek
from controller.keys.store import NodeStore
from controller.trust.pads import POOLS
from tests.e2e.link import NODES, Link


@dataclass(frozen=True)
class StoreContents:
    """What one store holds. `keys`: material by key_ID, of all that were not given out; `rounds`: state by number."""

    keys: dict[str, bytes]
    all_ids: frozenset[str]
    rounds: dict[int, str]
    last_round: int
    positions: dict[tuple[str, str], tuple[int, int]]
    pads: dict[tuple[str, str], bytes]  # what is left of every pool


def read_store(config: NodeConfig, workspace: Path) -> StoreContents:
    """Opens the store as a node does, so that it also checks what a crash has left."""
    with NodeStore.open(workspace / config.store.path, load_kek(workspace / config.store.kek)) as store:
        database, envelope = store._database, store._pools._envelope
        with database.reading() as connection:
            key_rows = connection.execute(sa.select(schema.keys)).all()
            round_rows = connection.execute(sa.select(schema.rounds)).all()
            pool_rows = connection.execute(sa.select(schema.pools)).all()
            chunk_rows = connection.execute(sa.select(schema.pad_chunks).order_by(schema.pad_chunks.c.start)).all()
        keys = {
            str(UUID(bytes=row.key_id)): bytes(envelope.open(row.sealed, b"key|" + row.key_id))
            for row in key_rows
            if row.sealed is not None
        }
        pads = dict.fromkeys(POOLS, b"")
        for row in chunk_rows:
            place = f"pad|{row.region}|{row.direction}|{row.start}".encode()
            pads[row.region, row.direction] += bytes(envelope.open(row.sealed, place))
        return StoreContents(
            keys=keys,
            all_ids=frozenset(str(UUID(bytes=row.key_id)) for row in key_rows),
            rounds={row.round: row.state for row in round_rows},
            last_round=store.last_round(),
            positions={(row.region, row.direction): (row.next_offset, row.end_offset) for row in pool_rows},
            pads={(region, direction): data for (region, direction), data in pads.items()},
        )


def require_equal(link: Link) -> tuple[StoreContents, StoreContents]:
    """Both nodes have ended: the same keys, the same rounds settled alike, the same pads left. Returns the contents."""
    alice, bob = (read_store(link.configs[name], link.workspace) for name in NODES)
    assert alice.all_ids == bob.all_ids, "a key_ID exists on one side only"
    shared = alice.keys.keys() & bob.keys.keys()
    assert [key for key in shared if alice.keys[key] != bob.keys[key]] == []
    assert len({hashlib.sha256(alice.keys[key]).digest() for key in shared}) == len(shared), "a key occurs twice"
    ready_a, ready_b = ({number for number, state in s.rounds.items() if state == "ready"} for s in (alice, bob))
    assert ready_a == ready_b, f"ready on one side only: {ready_a ^ ready_b}"
    assert bob.last_round <= alice.last_round
    for pool in POOLS:
        (next_a, end_a), (next_b, end_b) = alice.positions[pool], bob.positions[pool]
        assert end_a == end_b, f"pool {pool} ends at {end_a} and {end_b}"
        common = end_a - max(next_a, next_b)
        tail_a, tail_b = (pads[len(pads) - common :] for pads in (alice.pads[pool], bob.pads[pool]))
        assert tail_a == tail_b, f"pool {pool} differs"
    return alice, bob


def require_settled(contents: tuple[StoreContents, StoreContents]) -> None:
    """No round is pending or committed on either side, and only the newest may be open: the stop came in it."""
    for name, store in zip(NODES, contents, strict=True):
        states = {n: s for n, s in store.rounds.items() if n != store.last_round or s != "open"}
        assert set(states.values()) <= {"ready", "dropped"}, f"{name}: {states}"


def require_pads_once(link: Link) -> Counter[str]:
    """No byte of a pool was burnt twice in the life of a node, and positions only rise; counts pads by region.

    The nodes log the position of every pad after it was erased and before it is used; the log outlives kill -9.
    """
    burnt: Counter[str] = Counter()
    for name in NODES:
        reached: dict[tuple[str, str], int] = {}
        for line in link.log_lines(name):
            if line.get("event") != "pad burnt":
                continue
            pool = (line["region"], line["direction"])
            first, stop = line["pad_offset"], line["pad_offset"] + line["n_bytes"]
            assert first >= reached.get(pool, 0), f"{name}: bytes of {pool} from {first} on were burnt before"
            reached[pool] = stop
            burnt[line["region"]] += 1
    return burnt


def require_rounds_rise(link: Link) -> None:
    """The rounds in the run files of a node, in order of time, have strictly rising numbers."""
    for name in NODES:
        numbers = [block.round for run in link.runs(name) for block in run.blocks]
        assert numbers == sorted(set(numbers)), f"{name}: {numbers}"
