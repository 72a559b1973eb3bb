"""Pads: never twice, never in the database once burnt, equal on both nodes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import Starved
from controller.keys.errors import RefillMismatch
from controller.trust.errors import PadRefused, PoolStarved, TranscriptError
from controller.trust.pads import MAX_SKIP_BYTES, POOLS, PadDirection, RefillEntry, RefillLayout, RefillSizes, Region
from tests.controller.stores import SMALL, Pair, make_pair, open_one


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = make_pair(tmp_path)
    yield pair
    pair.close()


def test_both_nodes_burn_the_same_bytes_and_pools_differ(pair: Pair) -> None:
    seen: set[bytes] = set()
    for region, direction in POOLS:
        mine, theirs = pair.alice.burn(region, direction, 64), pair.bob.burn(region, direction, 64, at_offset=0)
        assert mine.data == theirs.data
        seen.add(bytes(mine.data))
    assert len(seen) == len(POOLS)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.tuples(st.integers(1, 600), st.integers(0, 80)), min_size=1, max_size=6))
def test_burnt_bytes_are_consecutive_pieces_of_the_pool(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]]
) -> None:
    pair = make_pair(tmp_path_factory.mktemp("pools"))
    reference = bytes(pair.bob.burn("round", "ab", SMALL.round_bytes).data)
    at = 0
    for n_bytes, skip in sizes:
        if at + skip + n_bytes > len(reference):
            break
        pad = pair.alice.burn("round", "ab", n_bytes, at_offset=at + skip)
        assert pad.offset == at + skip
        assert bytes(pad.data) == reference[pad.offset : pad.offset + n_bytes]
        at = pad.offset + n_bytes
    assert pair.alice.next_offset("round", "ab") == at
    assert pair.alice.levels()["round", "ab"] == SMALL.round_bytes - at
    pair.close()


def test_burnt_pads_are_burnt_after_reopening(pair: Pair) -> None:
    first = pair.alice.burn("round", "ab", 48)
    pair.reopen()
    second = pair.alice.burn("round", "ab", 48)
    assert second.offset == 48
    assert second.data != first.data


@pytest.mark.parametrize("at_offset", [0, 63, 64 + MAX_SKIP_BYTES + 1, -1])
def test_positions_outside_the_window_burn_nothing(pair: Pair, at_offset: int) -> None:
    pair.alice.burn("round", "ba", 64)
    with pytest.raises(PadRefused, match="64"):
        pair.alice.burn("round", "ba", 32, at_offset=at_offset)
    assert pair.alice.next_offset("round", "ba") == 64


def test_an_authenticated_position_is_skipped_to_however_far(pair: Pair) -> None:
    reference = bytes(pair.bob.burn("round", "ab", 3000).data)
    pair.alice.skip_to("round", "ab", 2500)
    pair.alice.skip_to("round", "ab", 100)
    assert pair.alice.next_offset("round", "ab") == 2500
    assert bytes(pair.alice.burn("round", "ab", 500).data) == reference[2500:]
    with pytest.raises(PadRefused, match="beyond its end 4096"):
        pair.alice.skip_to("round", "ab", 4097)


def test_an_empty_pool_starves_and_burns_nothing(pair: Pair) -> None:
    pair.alice.burn("resync", "ab", SMALL.resync_bytes - 31)
    with pytest.raises(PoolStarved, match="resync/ab") as caught:
        pair.alice.burn("resync", "ab", 32)
    assert isinstance(caught.value, Starved)
    assert caught.value.exit_code == 5
    assert pair.alice.levels()["resync", "ab"] == 31


def test_sealed_records_of_burnt_pads_leave_the_file(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "alice.sqlite"
    pair.alice.close()
    with sqlite3.connect(path) as raw:
        sealed = raw.execute(
            "SELECT sealed FROM pad_chunks WHERE region='round' AND direction='ab' AND start=0"
        ).fetchone()[0]
    raw.close()
    assert sealed in path.read_bytes()
    with open_one(tmp_path, "alice") as store:
        store.burn("round", "ab", 300)
    assert sealed not in b"".join(file.read_bytes() for file in tmp_path.glob("alice.sqlite*"))


def test_threads_never_share_a_pad(pair: Pair) -> None:
    pads: list[tuple[int, bytes]] = []

    def burn() -> None:
        for _ in range(8):
            pad = pair.alice.burn("notice", "ab", 32)
            pads.append((pad.offset, bytes(pad.data)))

    threads = [threading.Thread(target=burn) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offset for offset, _ in pads) == [32 * index for index in range(48)]
    assert len({data for _, data in pads}) == 48


def test_refill_continues_the_pools_alike(pair: Pair) -> None:
    pair.alice.burn("round", "ab", 100)
    sizes = pair.alice.refill_needs(SMALL)
    assert sizes == RefillSizes(round_bytes=128, resync_bytes=0, notice_bytes=0)
    layout = pair.alice.refill_layout(sizes)
    assert layout == pair.bob.refill_layout(sizes)
    secret = bytes(range(256)) * 2
    pair.commit(0, secret, layout)
    pair.alice.burn("round", "ab", SMALL.round_bytes - 100)
    assert bytes(pair.alice.burn("round", "ab", 128).data) == secret[:128]
    pair.bob.burn("round", "ba", SMALL.round_bytes)
    assert bytes(pair.bob.burn("round", "ba", 128).data) == secret[128:256]


def test_a_refill_that_does_not_continue_the_pool_is_refused_as_a_whole(pair: Pair) -> None:
    region: Region = "round"
    direction: PadDirection = "ab"
    layout = RefillLayout((RefillEntry(region, direction, SMALL.round_bytes + 1, 32),))
    with pytest.raises(RefillMismatch, match="pool ends at 4096"):
        pair.commit(0, bytes(64), layout)
    assert pair.bob.settled(0) == "pending"
    assert pair.bob.levels()[region, direction] == SMALL.round_bytes


def test_totals_split_into_whole_pads() -> None:
    sizes = RefillSizes.from_total(4096)
    assert (sizes.round_bytes, sizes.resync_bytes, sizes.notice_bytes) == (1024, 256, 768)
    assert sizes.total_bytes == 4096


def test_figures_for_the_status_line(pair: Pair) -> None:
    pair.alice.burn("round", "ab", 32)
    pair.alice.burn("notice", "ba", 64)
    assert pair.alice.consumed_bits() == 8 * 96
    assert pair.alice.consumed_by_region() == {"round": 256, "resync": 0, "notice": 512}
    assert pair.alice.bits_left() == 8 * (SMALL.total_bytes - 96)
    assert pair.alice.rounds_left() == SMALL.round_bytes // 96


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"entries":3}', b"\xff",
     b'{"entries":[{"region":"round","direction":"ab","position":0,"n_bytes":-32}]}',
     b'{"entries":[{"region":"other","direction":"ab","position":0,"n_bytes":32}]}', b"[" * 4000],
)  # fmt: skip
def test_a_refill_that_the_peer_garbled_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(TranscriptError, match="malformed refill"):
        RefillLayout.decode(data)
