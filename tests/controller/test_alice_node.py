"""What Alice refuses and when she rests, without a link."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from controller import alice_node
from controller.alice_node import AliceNode, require_random_source
from controller.errors import PeerFailure, SecurityFailure
from controller.node import RunOptions
from controller.peer_messages import Control, Prelude
from tests.controller.shell_samples import FakeLaser


def test_a_seeded_generator_is_for_rehearsals_only() -> None:
    require_random_source(("SEED",), is_simulation=True)
    require_random_source(("INT",), is_simulation=False)
    with pytest.raises(SecurityFailure, match="seeded generator"):
        require_random_source(("SEED",), is_simulation=False)


def test_an_acknowledgement_clears_what_had_tripped_before_and_nothing_later() -> None:
    node, laser = object.__new__(AliceNode), FakeLaser("laser", [])
    node.options = RunOptions(is_acknowledged=True)
    for _ in range(3):  # the light is prepared again whenever the laser had gone out
        node._clear_what_was_looked_at(laser)
    assert laser.calls == ["laser.clear_errors"]


def test_without_an_acknowledgement_nothing_is_cleared() -> None:
    node, laser = object.__new__(AliceNode), FakeLaser("laser", [])
    node.options = RunOptions()
    node._clear_what_was_looked_at(laser)
    assert laser.calls == []


def test_a_peer_that_does_not_begin_is_a_peer_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alice_node, "STEP_TIMEOUT_S", 0.02)

    async def send(message: Control) -> bytes:
        return b""

    async def run() -> None:
        node = object.__new__(AliceNode)
        node.controls, node.prelude = asyncio.Queue(), Prelude()
        await node._begin(SimpleNamespace(send=send), "restore")  # type: ignore[arg-type]

    with pytest.raises(PeerFailure, match="did not answer 'restore'"):
        asyncio.run(run())
