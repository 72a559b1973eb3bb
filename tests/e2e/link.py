"""A whole link for tests: the bench and two nodes as operating-system processes in a workspace of their own.

The configuration is that of the demonstration with smaller blocks and looser epsilons, so that a block that still makes
key takes a second. Everything is looked at from outside: control sockets, logs, run files, exit codes, and stores of
nodes that have ended.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.bench_client import READY_NAME, BenchClient
from controller.bundle import make_delivery_certificates, make_kek, make_psk
from controller.config import NodeConfig
from controller.config_loading import load_config
from controller.control_socket import SOCKET_NAME, ControlClient
from controller.errors import ConfigurationError, PeerFailure
from controller.monitoring.status import NodeStatus
from controller.recorder import RunData, read_run
from controller.supervisor import peak_memory_bytes

ROOT = Path(__file__).resolve().parents[2]
NODES = ("alice", "bob")
FIRST_PORT, LAST_PORT = 21_000, 21_080
SMALL_BLOCKS = {
    "block_slots": "block_slots = 40_000_000",
    "eps_sec": "eps_sec = 1e-6",
    "eps_cor": "eps_cor = 1e-9",
}
START_S = 60.0
TAIL_LINES = 25


def free_offset() -> int:
    """A number to add to the demonstration's ports such that all of them are free and below the ephemeral ones."""
    for step in range(100):
        offset = 1000 + (os.getpid() * 7 + step) % 100 * 100
        try:
            for port in range(FIRST_PORT + offset, LAST_PORT + offset):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return offset
    raise AssertionError("no free range of ports on this machine")


def edit_lines(path: Path, lines: dict[str, str]) -> None:
    """Replace the line of each key of a TOML file, which must be there once."""
    text = path.read_text(encoding="utf-8")
    for key, line in lines.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", line, text)
        assert count == 1, f"{path}: {count} lines begin with {key!r}"
    path.write_text(text, encoding="utf-8")


@dataclass
class Process:
    """One process of the link; its output goes to `log`."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    log_start: int = 0  # size of the log when it was started
    peak_memory_bytes: int = 0

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def measure(self) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes(self.popen.pid))

    def tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


@dataclass
class Link:
    """Make it with `Link.make`; `close` ends whatever still runs."""

    workspace: Path
    offset: int
    configs: dict[str, NodeConfig]
    processes: dict[str, Process] = field(default_factory=dict)
    memory_bytes: int = 0  # largest sum of the peaks of bench and nodes

    # ---- set-up

    @classmethod
    def make(cls, workspace: Path, *, seed: int, link_lines: dict[str, str] | None = None) -> Link:
        """Configurations, keys and certificates; nothing runs yet."""
        folder = workspace / "configs"
        folder.mkdir(parents=True)
        for name in (*NODES, "bench"):
            text = (ROOT / f"configs/demo/{name}.toml").read_text(encoding="utf-8")
            (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        edit_lines(folder / "bench.toml", {"seed": f"seed = {seed}"})
        for name in NODES:
            edit_lines(folder / f"{name}.toml", SMALL_BLOCKS | (link_lines or {}))
        offset = free_offset()
        configs = {name: load_config(folder / f"{name}.toml", port_offset=offset) for name in NODES}
        link = cls(workspace, offset, configs)
        make_psk(configs["alice"], configs["bob"], workspace)
        for name in NODES:
            make_kek(configs[name], workspace)
        make_delivery_certificates(tuple(configs.values()), workspace)
        return link

    def start_bench(self) -> None:
        """Start the bench and wait until all its ports are open."""
        words = ["-m", "sim_instruments", "configs/bench.toml", "--workspace", "."]
        self._start("bench", [*words, "--port-offset", str(self.offset)])
        self.wait("bench", lambda: (self.workspace / READY_NAME).exists())

    def start(
        self,
        *names: str,
        options: Iterable[str] = (),
        config: str = "",
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """Start nodes. `config`: another file in configs/; `preexec`: runs in the child before the node."""
        for name in names:
            words = ["-m", "controller.cli", "run", "--config", f"configs/{config or name}.toml", "--workspace", "."]
            words += ["--port-offset", str(self.offset), "--stop-with-parent", "--quiet", *options]
            self._start(name, words, preexec)

    def ensure_running(self, *names: str) -> None:
        """Start those that do not run; a station that a test has broken counts as looked at."""
        for name in names:
            if name not in self.processes or not self.processes[name].is_running:
                self.start(name, options=("--acknowledge",))

    def _start(self, name: str, words: list[str], preexec: Callable[[], None] | None = None) -> None:
        old = self.processes.get(name)
        assert old is None or not old.is_running, f"{name} is running"
        log = self.workspace / f"logs/{name}.log"
        log.parent.mkdir(exist_ok=True)
        log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.workspace,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=preexec,
            )
        self.processes[name] = Process(name, popen, log, log_start)

    # ---- looking

    def status(self, name: str) -> NodeStatus | None:
        """None while the node is starting, ending or dead."""
        with suppress(PeerFailure, ConfigurationError):
            return ControlClient(self.state_dir(name) / SOCKET_NAME).status()
        return None

    def state_dir(self, name: str) -> Path:
        return self.configs[name].state_dir(self.workspace)

    def runs(self, name: str) -> list[RunData]:
        """All run files of a node, oldest first; those of a node that was killed in its first moments are left out."""
        files = sorted((self.state_dir(name) / "runs").glob("*.h5"))
        return [read_run(path) for path in files if path.stat().st_size > 0]

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """The node's structured log since the link was made; a last line that a kill cut short is left out."""
        lines = []
        for line in (self.state_dir(name) / "node.log").read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def bench(self, request: dict[str, Any]) -> dict[str, Any]:
        return BenchClient(self.workspace).ask(request)

    def fault(self, name: str, value: float | bool) -> None:
        """A fault of the light."""
        self.bench({"do": "fault", "name": name, "value": value})

    def instrument_fault(self, instrument: str, fault: str) -> None:
        self.bench({"do": "instrument_fault", "instrument": instrument, "fault": fault})

    def is_dark(self) -> bool:
        """Whether no light leaves Alice: the bench itself says so."""
        light = self.bench({"do": "state"})["light"]
        return not light["is_transmitter_on"] or light["laser_power_w"] == 0.0

    def alarms(self, name: str) -> set[str]:
        """Alarms that are raised now."""
        status = self.status(name)
        return {alarm.id for alarm in status.alarms if not alarm.cleared_utc} if status else set()

    def blocks(self, name: str) -> int:
        """Blocks that became keys since the node's start; 0 while it does not answer."""
        status = self.status(name)
        return status.blocks_made if status else 0

    def round_states(self, name: str) -> dict[int, str]:
        """States of all rounds in a node's store, as they are on the disk; the node may be running or dead."""
        path = self.workspace / self.configs[name].store.path
        if not path.exists():
            return {}
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
                return dict(database.execute("SELECT round, state FROM rounds ORDER BY round DESC LIMIT 20"))
        except sqlite3.OperationalError:  # the store is being made
            return {}

    def has_state(self, name: str, state: str) -> bool:
        """Whether a node is in this state, in the words of its status."""
        status = self.status(name)
        return status is not None and status.state == state

    def is_healthy(self) -> bool:
        """Both nodes make keys and raise no alarm."""
        statuses = [self.status(name) for name in NODES]
        return all(
            s is not None and s.state == "Distilling" and all(alarm.cleared_utc for alarm in s.alarms) for s in statuses
        )

    def measure(self) -> None:
        """Note the memory of all processes."""
        for process in self.processes.values():
            process.measure()
        self.memory_bytes = max(self.memory_bytes, sum(p.peak_memory_bytes for p in self.processes.values()))

    def wait(self, what: str, condition: Callable[[], bool], limit_s: float = START_S, poll_s: float = 0.05) -> float:
        """Poll until the condition holds; returns the seconds it took. Fails with all logs if a process ends, or after
        the limit.
        """
        began_s = time.monotonic()
        running = [process for process in self.processes.values() if process.is_running]
        while not condition():
            ended = [process.name for process in running if not process.is_running]
            late = time.monotonic() - began_s > limit_s
            assert not ended, f"{', '.join(ended)} ended while waiting for: {what}\n{self.report()}"
            assert not late, f"not within {limit_s:g} s: {what}\n{self.report()}"
            self.measure()
            time.sleep(poll_s)
        return time.monotonic() - began_s

    def wait_for_blocks(self, count: int = 1, limit_s: float = START_S) -> float:
        """Until both nodes have made `count` keys more than now; nodes that are still starting have made none."""
        goals = {name: self.blocks(name) + count for name in NODES}
        return self.wait(f"{count} more blocks", lambda: all(self.blocks(n) >= goals[n] for n in NODES), limit_s)

    def report(self) -> str:
        """Everything that helps to understand a failure."""
        parts = []
        for name, process in self.processes.items():
            code = process.popen.poll()
            parts.append(f"--- {name}: {'running' if code is None else f'ended with {code}'}\n{process.tail()}")
            if name in NODES and (status := self.status(name)):
                alarms = [f"{a.id}: {a.detail}" for a in status.alarms if not a.cleared_utc]
                parts.append(f"    {status.state} / {status.stage}, {status.blocks_made} blocks, alarms {alarms}")
            if name in NODES and (self.state_dir(name) / "node.log").exists():
                told = [line for line in self.log_lines(name) if line.get("event") != "pad burnt"]
                parts += [f"    {json.dumps(line)[:300]}" for line in told[-TAIL_LINES:]]
        return "\n".join(parts)

    # ---- ending

    def kill(self, *names: str) -> None:
        """kill -9, all at once."""
        for name in names:
            self.processes[name].popen.send_signal(signal.SIGKILL)
        for name in names:
            self.processes[name].popen.wait(10)

    def wait_exit(self, name: str, limit_s: float = 30.0) -> int:
        """The exit code of a node that ends by itself."""
        try:
            return self.processes[name].popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end within {limit_s:g} s\n{self.report()}") from None

    def said(self, name: str) -> str:
        """What a process has printed since its last start."""
        process = self.processes[name]
        return process.log.read_bytes()[process.log_start :].decode("utf-8", errors="replace")

    def stop(self, *names: str, limit_s: float = 30.0) -> dict[str, int]:
        """Ask nodes to end together; their exit codes."""
        for name in names:
            if self.processes[name].is_running:
                self.processes[name].popen.send_signal(signal.SIGTERM)
        return {name: self.wait_exit(name, limit_s) for name in names}

    def close(self) -> None:
        """End everything, nodes before the bench; kill what does not end."""
        for name in (*NODES, "bench"):
            process = self.processes.get(name)
            if process is None or not process.is_running:
                continue
            process.popen.send_signal(signal.SIGTERM)
        for process in reversed(list(self.processes.values())):
            try:
                process.popen.wait(20)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait(5)
