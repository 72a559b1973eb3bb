"""Pairs of node stores for tests: made from one pre-shared key, with rounds that both sides made ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from controller.keys.envelope import make_kek
from controller.keys.store import NodeStore
from controller.trust.pads import NO_REFILL, RefillLayout, RefillSizes
from controller.trust.psk import make_bundles

SMALL = RefillSizes(round_bytes=4096, resync_bytes=1024, notice_bytes=4096)
LINK = "test-link"


@dataclass
class Pair:
    alice: NodeStore
    bob: NodeStore
    directory: Path

    def close(self) -> None:
        self.alice.close()
        self.bob.close()

    def reopen(self) -> None:
        self.close()
        self.alice, self.bob = (open_one(self.directory, name) for name in ("alice", "bob"))

    def commit(
        self, round_number: int, secret: bytes, refill: RefillLayout = NO_REFILL, bits: int | None = None
    ) -> None:
        """One round in the order of the protocol."""
        for store in (self.alice, self.bob):
            store.open_round(1, round_number)
        for store in (self.bob, self.alice):
            store.save_pending(round_number, secret, 8 * len(secret) if bits is None else bits, refill, b"{}")
        self.alice.decide(round_number)
        self.bob.make_ready(round_number)
        self.alice.make_ready(round_number)


def make_pair(directory: Path, sizes: RefillSizes = SMALL) -> Pair:
    for name, bundle in zip(("alice", "bob"), make_bundles(LINK, "node-a", "node-b", sizes), strict=True):
        kek = make_kek(directory / f"{name}.kek")
        NodeStore.create(directory / f"{name}.sqlite", kek, link_id=LINK, node=bundle.node, psk=bundle).close()
    return open_pair(directory)


def open_pair(directory: Path) -> Pair:
    alice, bob = (open_one(directory, name) for name in ("alice", "bob"))
    return Pair(alice, bob, directory)


def open_one(directory: Path, name: str) -> NodeStore:
    return NodeStore.open(directory / f"{name}.sqlite", (directory / f"{name}.kek").read_bytes())
