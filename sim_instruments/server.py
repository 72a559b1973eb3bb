"""The bench process: serves all instruments of a bench file until it is told to stop, or its parent is gone.

It writes `bench.ready` (its process number) into the workspace when every port is open, and removes it when it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import numpy as np

from sim_instruments.bench import Bench
from sim_instruments.bench_file import read_bench_file
from sim_instruments.control import BenchControl, ControlSocket
from sim_instruments.crc32c import crc32c
from sim_instruments.instruments.id900_stream import split_channels

READY_FILE = "bench.ready"
SOCKET_FILE = "bench.sock"
PARENT_POLL_S = 0.25


def serve(bench_file: Path, workspace: Path, port_offset: int = 0) -> None:
    """Run until SIGTERM, SIGINT, the verb `stop`, or the end of the parent process.

    Raises BenchFileError, BenchModelError (configuration) and OSError (a port is in use, no rights in the workspace).
    """
    file = read_bench_file(bench_file)
    workspace.mkdir(parents=True, exist_ok=True)
    parent = os.getppid()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    _warm_up()
    with contextlib.ExitStack() as stack:
        bench = Bench(file, workspace, port_offset)
        stack.callback(bench.close)
        control = ControlSocket(BenchControl(bench, stopping.set), workspace / SOCKET_FILE)
        stack.callback(control.close)
        ready = workspace / READY_FILE
        stack.callback(ready.unlink, missing_ok=True)
        _write_at_once(ready, f"{os.getpid()}\n")
        while not stopping.wait(PARENT_POLL_S):
            if os.getppid() != parent:
                return


def _warm_up() -> None:
    """Load the compiled kernels before anybody waits for them."""
    crc32c(b"123456789")
    split_channels(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.uint8), (1,), 0, 1)


def _write_at_once(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
