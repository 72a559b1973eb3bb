"""Processes that live and end together: when one ends unasked, all are stopped, in the order in which they were added.

Children are in sessions of their own, so a Ctrl-C in the terminal reaches only the supervisor, which then stops them in
order: nodes before the bench, so that the light is switched off through instruments that still answer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from controller.errors import EXIT_INSTRUMENT, ChildFailure, InstrumentFailure, QkdError

STOP_S = 20.0  # for an orderly end
SECOND_SIGNAL_S = 0.2  # a node takes a second signal as: now
KILL_S = 5.0  # after SIGKILL
TAIL_LINES = 12


@dataclass(slots=True)
class Child:
    """One supervised process; its output goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    is_stopping: bool = False
    peak_memory_bytes: int = 0

    def tail(self) -> str:
        """The last lines of its output."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def measure(self) -> None:
        """Update the peak of its resident memory."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes(self.process.pid))


class Supervisor:
    """`with Supervisor() as family: family.start(...)`; leaving the block stops whatever runs."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def start(
        self, name: str, words: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a process with its output in `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raises ChildFailure if a process ended that nobody asked to end."""
        for child in self.children:
            child.measure()
            code = child.process.poll()
            if code is not None and not child.is_stopping:
                tail = child.tail()
                raise ChildFailure(
                    f"{child.name} ended by itself with {_words(code)}"
                    + (f"; its last words:\n{tail}" if tail else ""),
                    child_exit_code=code,
                    remedy=f"read {child.log}",
                )

    def stop(self, child: Child, *, now: bool = False) -> int:
        """Ask a process to end, wait, and kill it if it does not. Returns its exit code. `now`: hurry it up."""
        child.measure()
        if child.process.poll() is None:
            if not child.is_stopping:
                child.process.send_signal(signal.SIGTERM)
            if now:
                time.sleep(SECOND_SIGNAL_S)
                if child.process.poll() is None:
                    child.process.send_signal(signal.SIGTERM)
            child.is_stopping = True
            try:
                child.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait(KILL_S)
        return int(child.process.returncode)

    def stop_together(self, children: Sequence[Child]) -> None:
        """Ask several processes to end at the same time, then wait for each."""
        for child in children:
            child.is_stopping = True
            if child.process.poll() is None:
                child.measure()
                child.process.send_signal(signal.SIGTERM)
        for child in children:
            self.stop(child)

    def stop_all(self, *, now: bool = False) -> None:
        """Stop everything, last started first.

        Raises QkdError naming what had to be killed, InstrumentFailure naming nodes that could not confirm that their
        instruments are safe.
        """
        killed = []
        for child in reversed(self.children):
            was_running = child.process.poll() is None
            if self.stop(child, now=now) == -signal.SIGKILL and was_running:
                killed.append(child.name)
        if killed:
            raise QkdError(f"had to kill {', '.join(killed)}", remedy="its log says what it waited for")
        unsafe = [c for c in self.children if c.is_stopping and c.process.returncode == EXIT_INSTRUMENT]
        if unsafe:
            names = ", ".join(child.name for child in unsafe)
            logs = ", ".join(str(child.log) for child in unsafe)
            raise InstrumentFailure(f"{names}: instruments not confirmed safe while stopping", remedy=f"read {logs}")

    @property
    def peak_memory_bytes(self) -> int:
        """Sum of the peaks of all processes, this one included."""
        return peak_memory_bytes(os.getpid()) + sum(child.peak_memory_bytes for child in self.children)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop_all(now=kind is not None)
        except QkdError as second:
            if error is None:
                raise
            error.add_note(str(second))  # the first failure is the one to report


def peak_memory_bytes(pid: int) -> int:
    """Peak of the resident memory of a process; 0 if it has ended, or where /proc does not exist."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:")]
    return sizes[0] * 1024 if sizes else 0


def _words(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
