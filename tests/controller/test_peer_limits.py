"""What a node refuses of its peer before anything is durable: certificates, round numbers, blocks out of turn."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.alice_node import AliceNode
from controller.errors import ConfigurationError, PeerFailure, SecurityFailure
from controller.node import Node
from controller.peer import tls_context
from controller.peer_messages import BlockReady
from controller.rounds import require_progress
from controller.trust.node_certificate import make_node_certificate
from tests.controller.stores import LINK, Pair, make_pair


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for name in ("own", "peer", "other"):
        certificate, key = make_node_certificate(name)
        paths[name], paths[f"{name}-key"] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        paths[name].write_bytes(certificate)
        paths[f"{name}-key"].write_bytes(key)
    return paths


def context(files: dict[str, Path], name: str, trusted: Path, *, is_server: bool) -> ssl.SSLContext:
    return tls_context(is_server=is_server, certificate=files[name], key=files[f"{name}-key"], peer_certificate=trusted)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Both ends in memory, until both are done or one refuses."""
    wires = [(ssl.MemoryBIO(), ssl.MemoryBIO()) for _ in range(2)]
    (c_in, c_out), (s_in, s_out) = wires
    ends = (client.wrap_bio(c_in, c_out, server_side=False), server.wrap_bio(s_in, s_out, server_side=True))
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
            s_in.write(c_out.read())
            c_in.write(s_out.read())
    for end, message in zip(ends, (b"a", b"b"), strict=True):
        end.write(message)
    s_in.write(c_out.read())
    c_in.write(s_out.read())
    assert (ends[1].read(1), ends[0].read(1)) == (b"a", b"b")


def test_only_the_pinned_peer_is_spoken_to(files: dict[str, Path]) -> None:
    server = context(files, "peer", files["own"], is_server=True)
    handshake(context(files, "own", files["peer"], is_server=False), server)
    with pytest.raises(ssl.SSLError):
        handshake(context(files, "own", files["other"], is_server=False), server)
    with pytest.raises(ssl.SSLError):
        handshake(context(files, "other", files["peer"], is_server=False), server)


def test_a_file_with_several_certificates_pins_nobody(files: dict[str, Path]) -> None:
    both = files["own"].with_name("both.pem")
    both.write_bytes(files["peer"].read_bytes() + files["other"].read_bytes())
    with pytest.raises(ConfigurationError, match="holds 2 certificates"):
        context(files, "own", both, is_server=False)


@pytest.mark.parametrize(("number", "is_due"), [(6, False), (7, True), (8, False), (1 << 48, False)])
def test_bob_takes_only_the_round_that_is_due(tmp_path: Path, number: int, is_due: bool) -> None:
    """A number far ahead became durable before any tag was checked; no later round could follow it."""
    pair = make_pair(tmp_path)
    node: Any = SimpleNamespace(store=pair.bob, round_due=7)
    opened: Any = SimpleNamespace(round=number, epoch=pair.bob.epoch)
    if is_due:
        require_progress(node, opened)
    else:
        with pytest.raises(SecurityFailure, match="round 7 of epoch 1 was due"):
            require_progress(node, opened)
    pair.close()


@pytest.mark.parametrize("first_slot", [0, 1000, 1150, 1300])
def test_alice_takes_every_block_once_and_in_turn(first_slot: int) -> None:
    node: Any = SimpleNamespace(_block_due=1000, parameters=SimpleNamespace(block_slots=100))
    for due in (1000, 1100):
        AliceNode._require_due(node, BlockReady("0" * 16, due, 5))
    with pytest.raises(PeerFailure, match="one from 1200 was due"):
        AliceNode._require_due(node, BlockReady("0" * 16, first_slot, 5))


def test_the_store_of_another_node_is_refused(tmp_path: Path) -> None:
    pair: Pair = make_pair(tmp_path)
    pair.close()
    (tmp_path / "alice.kek").chmod(0o600)
    config = SimpleNamespace(
        node=SimpleNamespace(role="bob"), trust=SimpleNamespace(psk="none.psk"),
        store=SimpleNamespace(path="alice.sqlite", kek="alice.kek"),
    )  # fmt: skip
    node: Any = SimpleNamespace(config=config, workspace=tmp_path, parameters=SimpleNamespace(link_id=LINK))
    with pytest.raises(ConfigurationError, match="is the store of alice of test-link, this is bob"):
        Node._open_store(node)
