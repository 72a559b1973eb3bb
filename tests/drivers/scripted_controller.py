"""A time controller and its data link service of which every answer is ours; it streams what a test tells it to."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Sequence

import numpy as np
import zmq

from drivers.time_taggers.id900 import Id900

_NEXT_BLOCK = itertools.count(os.getpid() % 1000)


def free_ports(count: int) -> list[int]:
    """Ports with the four above each free as well (for stream ports), below those that the system gives to clients."""
    found: list[int] = []
    while len(found) < count:
        first = 22_000 + next(_NEXT_BLOCK) % 2000 * 5
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + 5):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            found.append(first)
    return found


class ScriptedController:
    """`replies`: first words of a command -> answer; `errors`: what `status` reports; `queue`: entries of SYST:ERR?."""

    def __init__(self) -> None:
        self.scpi, self.datalink, self.stream_base = free_ports(3)
        self.heard: list[str] = []
        self.replies: dict[str, str] = {"*IDN?": "IDQ,ID900,42,1.0", "DEVI:RES:BWID?": "1", "REC:STAGe?": "STOPPED"}
        self.errors: list[str] = []
        self.queue: list[str] = []
        self.delay_s: dict[str, float] = {}
        self._pairs: dict[int, zmq.Socket[bytes]] = {}
        self._is_open = True
        self._threads = [
            threading.Thread(target=self._serve, args=(p,), daemon=True) for p in (self.scpi, self.datalink)
        ]
        for thread in self._threads:
            thread.start()

    def open(self, **options: float | str) -> Id900:
        return Id900.open(
            "tagger",
            f"zmq:tcp://127.0.0.1:{self.scpi}",
            **{
                "datalink_resource": f"zmq:tcp://127.0.0.1:{self.datalink}",
                "stream_port_base": self.stream_base,
                **options,
            },
        )

    def send(self, channel: int, units: Sequence[int]) -> None:
        self.send_raw(channel, np.array(units, dtype="<u8").tobytes())

    def send_raw(self, channel: int, message: bytes) -> None:
        assert self._pairs[channel].poll(2000, zmq.POLLOUT)
        self._pairs[channel].send(message)

    def send_if_room(self, channel: int, message: bytes) -> bool:
        if not self._pairs[channel].poll(300, zmq.POLLOUT):
            return False
        self._pairs[channel].send(message)
        return True

    def end(self, channel: int) -> None:
        self.send_raw(channel, b"")

    def close(self) -> None:
        self._is_open = False
        for thread in self._threads:
            thread.join(timeout=2)
        for pair in self._pairs.values():
            pair.close(linger=0)

    def _serve(self, port: int) -> None:
        server: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        server.bind(f"tcp://127.0.0.1:{port}")
        while self._is_open:
            if server.poll(20):
                identity, _, body = server.recv_multipart()
                server.send_multipart([identity, b"", self._answer(body.decode()).encode()])
        server.close(linger=0)

    def _answer(self, text: str) -> str:
        self.heard.append(text)
        time.sleep(self.delay_s.get(text, 0.0))
        for beginning, reply in self.replies.items():
            if text.startswith(beginning):
                return reply
        if text == "SYST:ERR?":
            return self.queue.pop(0) if self.queue else '0,"No error"'
        if text == "list":
            return "[]"
        if text.startswith("start-stream"):
            return json.dumps({"id": self._bind(int(text.split()[4]))})
        status = {"acquisitions_count": 0, "timestamps_count": 0, "errors": [{"description": e} for e in self.errors]}
        if text.startswith("status"):
            return json.dumps(status)
        if text.startswith("stop"):
            return json.dumps({"status": status})
        return "0" if text.endswith("?") else ""

    def _bind(self, channel: int) -> str:
        if channel in self._pairs:
            self._pairs.pop(channel).close(linger=0)
        pair: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        pair.setsockopt(zmq.SNDHWM, 2)
        deadline = time.monotonic() + 2
        while True:
            try:
                pair.bind(f"tcp://127.0.0.1:{self.stream_base + channel}")
                break
            except zmq.ZMQError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._pairs[channel] = pair
        return f"{channel}"
