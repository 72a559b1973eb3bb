"""Runs inside the process that the kill test kills: two nodes' stores in an endless loop of rounds and deliveries.

Every fact is appended to a journal after the call that made it durable has returned, by one write each:

    pad NODE REGION DIRECTION OFFSET LENGTH SHA256
    given KEY_ID SHA256     to the master SAE
    taken KEY_ID SHA256     by the slave SAE
"""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from controller.keys.store import NodeStore
from controller.trust.errors import PoolStarved
from controller.trust.pads import Pad, PadDirection, RefillSizes, Region
from tests.controller.stores import Pair, open_pair

TARGET = RefillSizes(round_bytes=1024, resync_bytes=256, notice_bytes=1024)


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


class Journal:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, *fields: object) -> None:
        os.write(self._descriptor, (" ".join(map(str, fields)) + "\n").encode())


def settle(pair: Pair) -> None:
    """Resynchronisation: Alice's durable decision wins. Asserts that no crash can leave a contradiction."""
    numbers = sorted({r.round for store in (pair.alice, pair.bob) for r in store.unsettled()})
    for number in numbers:
        ours, theirs = pair.alice.settled(number), pair.bob.settled(number)
        if ours in ("committed", "ready"):
            assert theirs in ("pending", "ready"), (number, ours, theirs)
            pair.bob.make_ready(number)
            pair.alice.make_ready(number)
        else:
            assert theirs in (None, "open", "pending", "dropped"), (number, ours, theirs)
            if ours is not None:
                pair.alice.drop(number)
            if theirs is not None:
                pair.bob.drop_on_word_of_alice(number)


def burn_both(pair: Pair, journal: Journal, region: Region, direction: PadDirection, n_bytes: int) -> None:
    def note(name: str, pad: Pad) -> None:
        journal.note("pad", name, region, direction, pad.offset, n_bytes, digest(pad.data))

    offset = max(store.next_offset(region, direction) for store in (pair.alice, pair.bob))
    for name, store in (("alice", pair.alice), ("bob", pair.bob)):
        note(name, store.burn(region, direction, n_bytes, offset))


def one_round(pair: Pair, chance: random.Random) -> None:
    number = 1 + max(pair.alice.last_round(), pair.bob.last_round())
    sizes = pair.alice.refill_needs(TARGET)
    layout = pair.alice.refill_layout(sizes)
    secret = chance.randbytes(sizes.total_bytes + 32 * 8 + 5)
    pair.alice.open_round(1, number)
    pair.bob.open_round(1, number)
    pair.bob.save_pending(number, secret, 8 * len(secret), layout, b"{}")
    pair.alice.save_pending(number, secret, 8 * len(secret), layout, b"{}")
    pair.alice.decide(number)
    pair.bob.make_ready(number)
    pair.alice.make_ready(number)


def one_delivery(master: NodeStore, slave: NodeStore, journal: Journal, size_bits: int) -> None:
    ids = [key.key_id for key in master.reserve("m", ["s"], 1, size_bits)]
    slave.record_notice("m", ["s"], ids, size_bits)
    (given,) = master.deliver_master(ids, "m")
    journal.note("given", given.key_id, digest(given.material))
    (taken,) = slave.deliver_slave(ids, "s", "m")
    journal.note("taken", taken.key_id, digest(taken.material))


def run(directory: str, seed: int) -> None:
    """Until killed. The seed makes the loop's choices, not the moment of the kill."""
    chance = random.Random(seed)
    journal = Journal(Path(directory) / "journal")
    pair = open_pair(Path(directory))
    settle(pair)
    journal.note("started")
    while True:
        for direction in ("ab", "ba"):
            try:
                burn_both(pair, journal, "round", direction, 32 * chance.randint(1, 4))
            except PoolStarved:
                journal.note("starved")
        one_round(pair, chance)
        for _ in range(chance.randint(0, 2)):
            one_delivery(pair.alice, pair.bob, journal, chance.choice((64, 256, 512)))
            one_delivery(pair.bob, pair.alice, journal, chance.choice((64, 256, 512)))
