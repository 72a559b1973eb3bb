"""Plugs for the tests of the fakes: a client at a port in process, free TCP ports, a bench as a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sim_instruments.instruments.base import Device
from sim_instruments.transports.link import Link

ROOT = Path(__file__).resolve().parents[2]
RUN_BENCH = (sys.executable, "-m", "sim_instruments")
DEMO_BENCH = ROOT / "configs" / "demo" / "bench.toml"


class Client:
    """Talks to one port of a device without any transport; everything it was sent is in `received`."""

    def __init__(self, device: Device, port: str) -> None:
        self.received = bytearray()
        self.is_hung_up = False
        self._link = Link(device, port, self._arrive, self._hang_up)

    def _arrive(self, data: bytes) -> None:
        self.received += data

    def _hang_up(self) -> None:
        self.is_hung_up = True

    def ask(self, data: bytes) -> bytes:
        """What comes back at once."""
        self.received.clear()
        self._link.receive(data)
        return bytes(self.received)

    def close(self) -> None:
        self._link.close()


def wait_until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    """Return when `condition()` holds; fail after `limit_s` of wall time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {condition}"
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_offset(first: int = 21_000, last: int = 21_050) -> int:
    """A number to add to the demo's ports such that all of [first, last] are free."""
    for offset in range(1000 + os.getpid() % 400 * 60, 40_000, 60):
        try:
            for port in range(first + offset, last + offset + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return offset
    raise AssertionError("no free range of ports on this machine")


class BenchProcess:
    """`python -m sim_instruments` with the demo's bench, and its control socket."""

    def __init__(self, workspace: Path, offset: int) -> None:
        self.workspace = workspace
        self.offset = offset
        self.process = subprocess.Popen(
            [*RUN_BENCH, str(DEMO_BENCH), "--workspace", str(workspace), "--port-offset", str(offset)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )

    def wait_ready(self, limit_s: float = 60.0) -> None:
        wait_until(lambda: (self.workspace / "bench.ready").exists() or self.process.poll() is not None, limit_s)
        assert self.process.poll() is None, (self.process.stderr or sys.stdin).read()

    def control(self, **request: Any) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(self.workspace / "bench.sock"))
            with client.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
        return answer

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(timeout=10)
        finally:
            self.process.kill()
            if self.process.stderr:
                self.process.stderr.close()


@contextmanager
def bench_process(workspace: Path) -> Iterator[BenchProcess]:
    """A running demo bench on free ports; gone when the block ends."""
    bench = BenchProcess(workspace, free_offset())
    try:
        bench.wait_ready()
        yield bench
    finally:
        bench.end()


def read_for(sock: socket.socket, until: bytes, limit_s: float = 5.0) -> bytes:
    """Receive until `until` stands at the end, the peer closes, or `limit_s` is over."""
    sock.settimeout(limit_s)
    data = bytearray()
    while not data.endswith(until):
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            break
        if not piece:
            break
        data += piece
    return bytes(data)
