"""Supervised processes: they end together, in order, and a lost one is named with its last words."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from controller.errors import ChildFailure, InstrumentFailure, QkdError
from controller.supervisor import Child, Supervisor

PATIENT = """
import signal, sys, time
name, path = sys.argv[1:]
def stop(*_):
    open(path, "a").write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True: time.sleep(0.01)
"""


def start(family: Supervisor, name: str, tmp_path: Path, program: str = PATIENT) -> Child:
    words = [sys.executable, "-c", program, name, str(tmp_path / "order")]
    child = family.start(name, words, log=tmp_path / f"{name}.log", cwd=tmp_path)
    give_up_s = time.monotonic() + 20
    while "up" not in child.tail() and child.process.poll() is None and time.monotonic() < give_up_s:
        time.sleep(0.01)
    return child


def test_last_started_is_stopped_first(tmp_path: Path) -> None:
    with Supervisor() as family:
        for name in ("bench", "alice", "bob"):
            start(family, name, tmp_path)
        family.check()
        assert family.peak_memory_bytes > 3e6
    assert (tmp_path / "order").read_text().split() == ["bob", "alice", "bench"]


def test_a_process_that_ends_by_itself_stops_all_and_passes_its_exit_code_on(tmp_path: Path) -> None:
    with Supervisor() as family:
        bench = start(family, "bench", tmp_path)
        node = start(family, "node", tmp_path, "import sys; print('up'); print('no laser'); sys.exit(3)")
        node.process.wait(20)
        with pytest.raises(
            ChildFailure, match=r"node ended by itself with exit code 3; its last words:\nup\nno laser"
        ) as caught:
            family.check()
    assert caught.value.exit_code == 3
    assert bench.process.poll() == 0


def test_a_killed_process_is_named_by_its_signal(tmp_path: Path) -> None:
    with Supervisor() as family:
        child = start(family, "node", tmp_path)
        child.process.kill()
        child.process.wait(20)
        with pytest.raises(ChildFailure, match="SIGKILL"):
            family.check()


def test_a_process_that_does_not_listen_is_killed_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.supervisor.STOP_S", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    family = Supervisor()
    child = start(family, "deaf", tmp_path, deaf)
    with pytest.raises(QkdError, match="had to kill deaf"):
        family.stop_all()
    assert child.process.poll() == -9


def test_ctrl_c_in_the_terminal_does_not_reach_the_children(tmp_path: Path) -> None:
    with Supervisor() as family:
        child = start(family, "node", tmp_path)
        assert os.getpgid(child.process.pid) != os.getpgid(0)


def test_a_node_whose_instruments_are_not_safe_after_stopping_is_named(tmp_path: Path) -> None:
    program = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('up', flush=True)"
    family = Supervisor()
    start(family, "node", tmp_path, program + "\ntime.sleep(60)")
    with pytest.raises(InstrumentFailure, match="node: instruments not confirmed safe while stopping") as caught:
        family.stop_all()
    assert caught.value.exit_code == 3
