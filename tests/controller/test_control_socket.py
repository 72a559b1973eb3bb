"""The control socket: questions and answers, refusals, events, and a node that is not there."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from shell_samples import status

from controller.control_socket import MAX_WAITING_EVENTS, ControlClient, ControlServer
from controller.errors import ConfigurationError, PeerFailure
from controller.monitoring.status import AlarmState, NodeStatus


class FakeNode:
    def __init__(self) -> None:
        self.stops: list[bool] = []
        self.alarms = (AlarmState(id="no-light", detail="300 Hz", raised_utc="2026-11-22T08:00:00Z"),)

    def status(self) -> NodeStatus:
        return status(secret_bits=1234, qber_z=0.0123, alarms=self.alarms)

    def request_stop(self, *, now: bool) -> None:
        self.stops.append(now)

    def acknowledge_alarm(self, alarm_id: str) -> bool:
        return alarm_id == "no-light"


def with_server(path: Path, node: FakeNode, talk: Callable[[ControlServer], None]) -> None:
    async def scene() -> None:
        async with ControlServer(path, node) as server:
            await asyncio.to_thread(talk, server)

    asyncio.run(scene())


def test_status_stop_and_acknowledge(tmp_path: Path) -> None:
    node, path = FakeNode(), tmp_path / "control.sock"

    def talk(_: ControlServer) -> None:
        client = ControlClient(path)
        assert client.status() == node.status()
        client.stop()
        client.stop(now=True)
        client.acknowledge("no-light")
        with pytest.raises(ConfigurationError, match="no alarm 'x' is raised"):
            client.acknowledge("x")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    with_server(path, node, talk)
    assert node.stops == [False, True]
    assert not path.exists()


def test_nonsense_is_refused_and_the_server_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    def talk(_: ControlServer) -> None:
        with pytest.raises(ConfigurationError, match="unknown request 'dance'"):
            ControlClient(path).ask({"do": "dance"})
        for junk in (b"\xff\xfe\n", b"[1, 2]\n", b"{" * 400_000 + b"\n"):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.settimeout(5)
                raw.connect(str(path))
                try:
                    raw.sendall(junk)
                    assert raw.recv(100) == b""  # hung up
                except ConnectionError:
                    pass  # hung up while we were still sending
        assert ControlClient(path).status().secret_bits == 1234

    with_server(path, FakeNode(), talk)


def test_events_arrive_in_order_and_a_slow_reader_loses_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def scene() -> list[int]:
        async with ControlServer(path, FakeNode()) as server:
            events = ControlClient(path).events()
            first = asyncio.create_task(asyncio.to_thread(next, events))
            while not first.done():
                server.publish({"n": 0})
                await asyncio.sleep(0.01)
            for n in range(1, MAX_WAITING_EVENTS + 50):
                server.publish({"n": n})
            seen = []
            while not seen or seen[-1] != MAX_WAITING_EVENTS + 49:
                seen.append((await asyncio.to_thread(next, events))["n"])
            return [n for n in seen if n > 0]

    seen = asyncio.run(scene())
    assert seen == sorted(seen)
    assert len(seen) < MAX_WAITING_EVENTS + 49  # some were dropped, and not the newest
    assert seen[-1] == MAX_WAITING_EVENTS + 49


def test_no_node_is_a_peer_failure(tmp_path: Path) -> None:
    with pytest.raises(PeerFailure, match="no node answers"):
        ControlClient(tmp_path / "control.sock").status()


def test_two_nodes_cannot_share_a_state_directory(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def scene() -> None:
        async with ControlServer(path, FakeNode()):
            with pytest.raises(ConfigurationError, match="another node is running"):
                async with ControlServer(path, FakeNode()):
                    pass

    asyncio.run(scene())


def test_a_stale_socket_of_a_killed_node_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with_server(path, FakeNode(), lambda _: ControlClient(path).stop())


def test_a_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120) / "control.sock"
    with pytest.raises(ConfigurationError, match="107 bytes"):
        ControlClient(deep).status()
