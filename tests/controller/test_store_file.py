"""The store as a file: restored copies, crashes, wrong keys, second processes, full disks, secrets that stay inside."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from controller.errors import ConfigurationError, StorageFailure
from controller.keys import database
from controller.keys.envelope import Envelope, load_kek, make_kek
from controller.keys.errors import RollbackDetected, SealBroken, StoreExists, StoreInUse, StoreMissing
from controller.keys.store import NodeStore
from controller.trust.psk import make_bundles, read_bundle, write_bundle
from tests.controller.stores import LINK, SMALL, Pair, make_pair, open_one


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = make_pair(tmp_path)
    yield pair
    pair.close()


def save(directory: Path, suffix: str = ".sqlite") -> Path:
    copy = directory / f"copy{suffix}"
    shutil.copy(directory / f"alice{suffix}", copy)
    return copy


def test_a_restored_database_is_refused(pair: Pair, tmp_path: Path) -> None:
    pair.alice.close()
    copy = save(tmp_path)
    with open_one(tmp_path, "alice") as store:
        store.burn("round", "ab", 32)
        store.burn("round", "ab", 32)
    shutil.copy(copy, tmp_path / "alice.sqlite")
    with pytest.raises(RollbackDetected, match="old copy") as caught:
        open_one(tmp_path, "alice")
    assert caught.value.exit_code == 5


def test_a_restored_mirror_is_refused(pair: Pair, tmp_path: Path) -> None:
    pair.alice.close()
    copy = save(tmp_path, ".sqlite.mirror")
    open_one(tmp_path, "alice").close()
    shutil.copy(copy, tmp_path / "alice.sqlite.mirror")
    with pytest.raises(RollbackDetected):
        open_one(tmp_path, "alice")


@pytest.mark.parametrize("damage", [b"", bytes(1024)])
def test_a_damaged_mirror_is_refused(pair: Pair, tmp_path: Path, damage: bytes) -> None:
    pair.alice.close()
    (tmp_path / "alice.sqlite.mirror").write_bytes(damage)
    with pytest.raises(RollbackDetected, match="no intact counter"):
        open_one(tmp_path, "alice")


def test_a_missing_mirror_is_refused(pair: Pair, tmp_path: Path) -> None:
    pair.alice.close()
    (tmp_path / "alice.sqlite.mirror").unlink()
    with pytest.raises(StoreMissing, match="mirror"):
        open_one(tmp_path, "alice")


def test_a_copy_of_exactly_one_step_ago_repeats_no_pad(pair: Pair, tmp_path: Path) -> None:
    """It cannot be told from a crash between mirror and COMMIT; so the positions of the mirror are taken."""
    pair.alice._database.checkpoint()
    copy = save(tmp_path)
    first = pair.alice.burn("round", "ab", 48)
    pair.alice.close()
    for leftover in tmp_path.glob("alice.sqlite-*"):
        leftover.unlink()
    shutil.copy(copy, tmp_path / "alice.sqlite")
    with open_one(tmp_path, "alice") as store:
        second = store.burn("round", "ab", 48)
    assert second.offset == 48
    assert second.data != first.data


def test_a_commit_that_fails_after_the_mirror_burns_the_pad(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = database.Mirror.write

    def killed(mirror: database.Mirror, counters: database.Counters) -> None:
        real_write(mirror, counters)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database.Mirror, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            pair.alice.burn("round", "ab", 40)
    pair.alice.close()
    pair.alice = open_one(tmp_path, "alice")
    assert pair.alice.next_offset("round", "ab") == 40
    expected = pair.bob.burn("round", "ab", 64)
    assert pair.alice.burn("round", "ab", 24).data == expected.data[40:]


def test_a_round_whose_opening_was_cut_off_is_never_opened_again(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = database.Mirror.write

    def killed(mirror: database.Mirror, counters: database.Counters) -> None:
        real_write(mirror, counters)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database.Mirror, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            pair.alice.open_round(1, 6)
    pair.alice.close()
    pair.alice = open_one(tmp_path, "alice")
    assert pair.alice.last_round() == 6


def test_a_full_disk_is_named_and_changes_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageFailure, match="No space left"):
            pair.alice.burn("round", "ab", 32)
    assert pair.alice.next_offset("round", "ab") == 0
    assert pair.alice.burn("round", "ab", 32).offset == 0


def test_a_database_that_cannot_grow_is_named_and_changes_nothing(pair: Pair) -> None:
    with pair.alice._database._engine.begin() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    pair.alice.open_round(1, 0)
    from controller.trust.pads import NO_REFILL

    with pytest.raises(StorageFailure, match="full"):
        pair.alice.save_pending(0, bytes(1 << 20), 8 << 20, NO_REFILL, b"")
    assert pair.alice.settled(0) == "open"


def test_a_second_process_is_kept_out(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(StoreInUse):
        open_one(tmp_path, "alice")


def test_a_closed_store_refuses(pair: Pair) -> None:
    pair.alice.close()
    with pytest.raises(StorageFailure, match="closed"):
        pair.alice.burn("round", "ab", 32)


def test_missing_existing_and_foreign_stores(pair: Pair, tmp_path: Path) -> None:
    kek = load_kek(tmp_path / "alice.kek")
    with pytest.raises(StoreMissing):
        NodeStore.open(tmp_path / "none.sqlite", kek)
    with pytest.raises(StoreExists):
        NodeStore.create(
            tmp_path / "alice.sqlite", kek, link_id=LINK, node="alice", psk=make_bundles(LINK, "a", "b", SMALL)[0]
        )
    pair.alice.close()
    with pytest.raises(SealBroken, match="key-encryption key"):
        NodeStore.open(tmp_path / "alice.sqlite", bytes(32))


def test_exchanged_records_do_not_open(pair: Pair) -> None:
    with pair.alice._database._engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE pad_chunks SET sealed="
                "(SELECT sealed FROM pad_chunks WHERE region='round' AND direction='ab' AND start=256)"
                " WHERE region='round' AND direction='ab' AND start=0"
            )
        )
    with pytest.raises(SealBroken, match="does not open"):
        pair.alice.burn("round", "ab", 32)


def test_key_file_must_be_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_kek(path)
    key = make_kek(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_kek(path) == key
    with pytest.raises(FileExistsError):
        make_kek(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="0640"):
        load_kek(path)
    path.chmod(0o600)
    path.write_bytes(key[:31])
    with pytest.raises(ConfigurationError, match="32 bytes"):
        load_kek(path)


def test_files_are_private(pair: Pair, tmp_path: Path) -> None:
    pair.alice.burn("round", "ab", 32)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.glob("*.sqlite*")}
    assert len(modes) >= 4
    assert set(modes.values()) == {0}


KNOWN = b"\xfa\xceKNOWN-TEST-SECRET-0123456789abcdef"


def test_known_secrets_never_appear(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In database, write-ahead log, mirror, log records, reprs and error messages."""
    secret = (KNOWN * 40)[:1024]
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG):
        pair = make_pair(tmp_path)
        bundle = make_bundles(LINK, "a", "b", SMALL)[0]
        pad = pair.alice.burn("round", "ab", 64)
        pair.commit(0, secret)
        (reserved,) = pair.alice.reserve("m", ["s"], 1, 256)
        delivered = pair.alice.deliver_master([reserved.key_id], "m")
        assert bytes(delivered[0].material) == secret[:32]
        envelope = Envelope(secret[:32])
        shown += [repr(thing) for thing in (pad, pair.alice, bundle, delivered, reserved, envelope)] + [str(bundle)]
        with pytest.raises(SealBroken) as caught:
            envelope.open(envelope.seal(secret, b"here"), b"there")
        shown.append(repr(caught.value))
        files = b"".join(path.read_bytes() for path in tmp_path.glob("*.sqlite*"))
        pair.close()
    assert KNOWN[2:12] not in files
    text = " ".join(shown) + caplog.text
    secrets = (KNOWN, bytes(pad.data), bundle.pool("round", "ab")[:16], bundle.tls_key_pem)
    for known in secrets:
        for form in (known.hex(), repr(bytes(known))[2:-1], known.decode("latin-1")):
            assert form[:16] not in text


def test_errors_of_the_database_carry_no_parameters(pair: Pair) -> None:
    with pytest.raises(StorageFailure) as caught, pair.alice._database.transaction() as connection:
        connection.execute(sa.text("INSERT INTO nowhere VALUES (:secret)"), {"secret": KNOWN.decode("latin-1")})
    chain = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "nowhere" in chain
    assert "KNOWN" not in chain


def test_a_bundle_file_is_private_and_checked(tmp_path: Path) -> None:
    bundle = make_bundles(LINK, "a", "b", SMALL)[1]
    write_bundle(tmp_path / "bob.psk", bundle)
    assert (tmp_path / "bob.psk").stat().st_mode & 0o777 == 0o600
    assert read_bundle(tmp_path / "bob.psk") == bundle
