"""How a running node is asked and told things on its own machine: a Unix socket, one JSON object per line.

Requests: {"do": "status"}, {"do": "stop", "now": false}, {"do": "alarms"}, {"do": "acknowledge", "alarm": ID},
{"do": "events"}. Answers: one line, {"ok": true, ...} or {"ok": false, "error": TEXT}; after "events" a line per event
until the client goes. Only the owner of the socket file may connect (mode 0600); nothing secret is ever said on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from controller.errors import ConfigurationError, PeerFailure
from controller.monitoring.status import NodeStatus, status_from_json, status_to_json

SOCKET_NAME = "control.sock"
MAX_LINE_BYTES = 1 << 18
MAX_WAITING_EVENTS = 256
_MAX_PATH_BYTES = 107  # sun_path of Linux without its terminator


class ControlledNode(Protocol):
    """What the server needs of a node; all of it returns at once."""

    def status(self) -> NodeStatus: ...
    def request_stop(self, *, now: bool) -> None: ...
    def acknowledge_alarm(self, alarm_id: str) -> bool: ...


class ControlServer:
    """Serves one node on its event loop: `async with ControlServer(path, node) as server: server.publish({...})`."""

    def __init__(self, path: Path, node: ControlledNode) -> None:
        self._path = path
        self._node = node
        self._server: asyncio.Server | None = None
        self._subscribers: set[asyncio.Queue[bytes]] = set()
        self._connections: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ControlServer:
        """Listen. Raises ConfigurationError if another node already answers there."""
        if _is_answered(self._path):
            raise ConfigurationError(
                f"{self._path}: another node is running on this state directory", remedy="qkd status, or qkd stop"
            )
        self._path.unlink(missing_ok=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        old_mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, _short(self._path), limit=MAX_LINE_BYTES)
        finally:
            os.umask(old_mask)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._connections):
                writer.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    def publish(self, event: Mapping[str, Any]) -> None:
        """Tell all subscribers. One that reads too slowly loses its oldest events, never delays the node."""
        line = json.dumps(event, default=str).encode() + b"\n"
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                request = _parse(line)
                writer.write(self._answer(request))
                await writer.drain()
                if request.get("do") == "events":
                    await self._stream_events(writer)
                    return
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            return  # the client went away, or sent a line over the limit
        finally:
            self._connections.discard(writer)
            writer.close()

    def _answer(self, request: Mapping[str, Any]) -> bytes:
        match request.get("do"):
            case "status":
                return b'{"ok":true,"status":' + status_to_json(self._node.status()) + b"}\n"
            case "alarms":
                return b'{"ok":true,"alarms":' + msgspec.json.encode(self._node.status().alarms) + b"}\n"
            case "stop":
                self._node.request_stop(now=request.get("now") is True)
                return b'{"ok":true}\n'
            case "acknowledge" if isinstance(request.get("alarm"), str):
                is_known = self._node.acknowledge_alarm(request["alarm"])
                return b'{"ok":true}\n' if is_known else _refusal(f"no alarm {request['alarm']!r} is raised")
            case "events":
                return b'{"ok":true}\n'
            case other:
                return _refusal(f"unknown request {other!r}; known: status, alarms, acknowledge, events, stop")

    async def _stream_events(self, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING_EVENTS)
        self._subscribers.add(queue)
        try:
            while not writer.is_closing():
                writer.write(await queue.get())
                await writer.drain()
        finally:
            self._subscribers.discard(queue)


class ControlClient:
    """Blocking client for the command line. Raises PeerFailure when no node answers."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def status(self) -> NodeStatus:
        """The node's present status."""
        return status_from_json(msgspec.json.encode(self.ask({"do": "status"})["status"]))

    def stop(self, *, now: bool = False) -> None:
        """Ask for the end: after the present step, or at once."""
        self.ask({"do": "stop", "now": now})

    def acknowledge(self, alarm_id: str) -> None:
        """Mark an alarm as seen. Raises ConfigurationError if it is not raised."""
        self.ask({"do": "acknowledge", "alarm": alarm_id})

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One exchange. Raises ConfigurationError with the node's words if it refuses."""
        with self._connect() as connection:
            return _exchange(connection, request, self._path)

    def events(self) -> Iterator[dict[str, Any]]:
        """Events until the node ends."""
        with self._connect() as connection:
            _exchange(connection, {"do": "events"}, self._path)
            connection.settimeout(None)
            with connection.makefile("rb") as lines:
                while line := lines.readline(MAX_LINE_BYTES):
                    yield _parse(line)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(_short(self._path))
        except OSError as error:
            connection.close()
            raise PeerFailure(
                f"{self._path}: no node answers ({error.strerror or error})",
                remedy="start it with qkd run, or give --workspace and --config of the one that runs",
            ) from error
        return connection


def _exchange(connection: socket.socket, request: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = _parse(_read_line(connection))
    except (OSError, ValueError) as error:
        raise PeerFailure(f"{path}: the node did not answer ({error})") from error
    if answer.get("ok") is not True:
        raise ConfigurationError(f"{path}: refused: {answer.get('error', 'no reason given')}")
    return answer


def _read_line(connection: socket.socket) -> bytes:
    """Byte by byte only as far as the line goes, so that events that follow stay in the socket."""
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = connection.recv(MAX_LINE_BYTES, socket.MSG_PEEK)
        if not chunk or len(line) > MAX_LINE_BYTES:
            raise ValueError("connection closed" if not chunk else "line too long")
        end = chunk.find(b"\n") + 1 or len(chunk)
        line += connection.recv(end)
    return bytes(line)


def _parse(line: bytes) -> dict[str, Any]:
    """Raises ValueError if the line is not one JSON object."""
    request = json.loads(line)
    if not isinstance(request, dict):
        raise ValueError("not a JSON object")
    return request


def _refusal(text: str) -> bytes:
    return json.dumps({"ok": False, "error": text}).encode() + b"\n"


def _is_answered(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(_short(path))
        except OSError:
            return False
        return True


def _short(path: Path) -> str:
    """The path as the kernel takes it: at most 107 bytes, relative to the working directory if that is shorter."""
    candidates = sorted((str(path), os.path.relpath(path)), key=len)
    if len(os.fsencode(candidates[0])) > _MAX_PATH_BYTES:
        raise ConfigurationError(
            f"{path}: a socket's path may have {_MAX_PATH_BYTES} bytes", remedy="use a workspace with a shorter path"
        )
    return candidates[0]
