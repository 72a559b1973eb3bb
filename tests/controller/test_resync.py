"""The greeting of two nodes over two real stores: positions, crashes, restored copies, strangers."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from controller import peer_messages, resync
from controller.errors import QkdError, SecurityFailure
from controller.keys.errors import RollbackDetected
from controller.keys.store import NodeStore
from controller.resync import resynchronise
from controller.trust.errors import AuthenticationFailed, PoolStarved
from controller.trust.pads import PAD_DIRECTIONS
from postproc.records import LinkParameters
from tests.controller.stores import LINK, Pair, make_pair, open_one

PARAMETERS = LinkParameters(
    link_id=LINK, protocol="bb84-one-decoy-timebin", slot_rate_hz=625e6, mean_photon_numbers=(0.5, 0.15),
    intensity_probabilities=(0.7, 0.3), key_basis_probability=0.5, block_slots=10**8, sync_string_slots=1024,
    eps_sec=1e-10, eps_cor=1e-15, proof="wiesemann2026/1", qber_z_limit=0.05, qber_x_limit=0.06,
    common_dead_time_ps=24_000,
)  # fmt: skip
SECRET = secrets.token_bytes(32 * 8)


@dataclass
class Wire:
    """One node's end: what it sends goes into the other's queue, unless it is lost."""

    controls: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    peer: Wire | None = None
    loses: type | None = None

    async def send(self, message: peer_messages.Control) -> bytes:
        payload = peer_messages.encode(message)
        if self.peer is not None and not (self.loses and isinstance(message, self.loses)):
            self.peer.controls.put_nowait(peer_messages.decode(payload))
        return payload


def node(store: NodeStore) -> Any:
    names = {"alice": ("node-a", "node-b"), "bob": ("node-b", "node-a")}[store.node]
    config = SimpleNamespace(node=SimpleNamespace(role=store.node, name=names[0]), peer=SimpleNamespace(name=names[1]))
    return SimpleNamespace(
        config=config, parameters=PARAMETERS, store=store, log=structlog.get_logger(), raise_alarm=lambda *_: None
    )


def greet(pair: Pair, *, alice_loses: type | None = None) -> list[object]:
    """Both nodes greet each other; what each ended with (None: well)."""

    async def both() -> list[object]:
        a, b = Wire(loses=alice_loses), Wire()
        a.peer, b.peer = b, a
        jobs = (resynchronise(node(pair.alice), a), resynchronise(node(pair.bob), b))  # type: ignore[arg-type]
        return list(await asyncio.gather(*jobs, return_exceptions=True))

    return asyncio.run(both())


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = make_pair(tmp_path)
    yield pair
    pair.close()


def test_a_greeting_burns_one_pad_each_way(pair: Pair) -> None:
    assert greet(pair) == [None, None]
    assert {s.next_offset("resync", way) for s in (pair.alice, pair.bob) for way in PAD_DIRECTIONS} == {32}


def test_cutting_connections_at_the_right_moment_cannot_part_the_nodes_for_ever(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob's greeting arrives and Alice's is lost, again and again: only Alice burns pads. The reserve of this pool is
    1024 bytes, so the distance cannot be more here; with a real pool it was limited to 1024 and then refused for ever.
    """
    with monkeypatch.context() as patch:
        patch.setattr(resync, "TIMEOUT_S", 0.05)
        for _ in range(30):
            assert all(isinstance(end, QkdError) for end in greet(pair, alice_loses=peer_messages.Hello))
    assert pair.alice.next_offset("resync", "ab") == 30 * 32
    assert pair.bob.next_offset("resync", "ab") == 0
    assert greet(pair) == [None, None]
    assert pair.bob.next_offset("resync", "ab") == 31 * 32


def test_a_distance_beyond_the_limit_of_rounds_is_caught_up_with(tmp_path: Path) -> None:
    from controller.trust.pads import MAX_SKIP_BYTES, RefillSizes

    pair = make_pair(tmp_path, RefillSizes(round_bytes=4096, resync_bytes=4096, notice_bytes=4096))
    for way in PAD_DIRECTIONS:
        pair.alice.burn("resync", way, MAX_SKIP_BYTES + 64)
    assert greet(pair) == [None, None]
    pair.close()


def test_a_reserve_that_is_used_up_is_starvation_and_no_downgrade(pair: Pair) -> None:
    pair.alice.burn("resync", "ab", 1024)
    alice, bob = greet(pair)
    assert isinstance(alice, PoolStarved)
    assert isinstance(bob, PoolStarved)


def test_pads_burnt_by_the_sender_alone_are_skipped_by_the_other(pair: Pair) -> None:
    for _ in range(40):
        pair.alice.burn("notice", "ab", 32)
        pair.alice.burn("round", "ba", 96)
    assert greet(pair) == [None, None]
    assert pair.bob.next_offset("notice", "ab") == 40 * 32
    assert pair.bob.next_offset("round", "ba") == 40 * 96


def test_a_stranger_with_the_right_words_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = make_pair(other)
    stranger.bob.psk_serial = pair.alice.psk_serial
    pair.alice.open_round(1, 0)
    alice, _ = greet(Pair(pair.alice, stranger.bob, tmp_path))
    assert isinstance(alice, AuthenticationFailed)
    assert pair.alice.settled(0) == "open", "nothing may be settled on the word of a stranger"
    stranger.close()


@pytest.mark.parametrize("decided", [False, True])
def test_a_pending_round_ends_as_alice_decided(pair: Pair, decided: bool) -> None:
    from controller.trust.pads import NO_REFILL

    for store in (pair.alice, pair.bob):
        store.open_round(1, 0)
        store.save_pending(0, SECRET, 8 * len(SECRET), NO_REFILL, b"{}")
    if decided:
        pair.alice.decide(0)
    assert greet(pair) == [None, None]
    states = (pair.alice.settled(0), pair.bob.settled(0))
    assert states == (("ready", "ready") if decided else ("dropped", "dropped"))


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_restored_copy_of_a_whole_store_is_found_out_by_the_peer(pair: Pair, tmp_path: Path, name: str) -> None:
    """Store and mirror together: the node itself cannot know. At Bob this went unnoticed, and he would have given the
    keys of that round to consumers again.
    """
    copy = tmp_path / "copy"
    copy.mkdir()
    pair.close()
    for file in tmp_path.glob(f"{name}.sqlite*"):
        shutil.copy(file, copy)
    pair = Pair(*(open_one(tmp_path, n) for n in ("alice", "bob")), tmp_path)
    pair.commit(0, SECRET)
    pair.close()
    for file in copy.iterdir():
        shutil.copy(file, tmp_path)
    pair = Pair(*(open_one(tmp_path, n) for n in ("alice", "bob")), tmp_path)
    ends = greet(pair)
    assert any(isinstance(end, RollbackDetected) for end in ends), ends
    assert isinstance(ends[("alice", "bob").index(name)], SecurityFailure)
    pair.close()
