"""The demonstration as a user starts it: three processes, real transports, equal keys, honest numbers, clean ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.recorder import read_run

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
WANTED = (
    "secret_bits", "sifted_bits", "blocks", "qber_z", "qber_x", "phase_error_bound", "leakage_bits", "efficiency_f",
    "keys_match", "wall_s", "simulated_s", "auth_bits_consumed", "auth_bits_pool", "true_qber_z", "true_qber_x",
)  # fmt: skip


def free_offset() -> str:
    """A port offset at which nothing listens yet."""
    for offset in range(1000, 30_000, 500):
        try:
            for port in (21010, 21020, 21030, 21040, 21060, 21070):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return str(offset)
    pytest.fail("no free ports")


def words(workspace: Path, *more: str) -> list[str]:
    base = [sys.executable, "-P", "-m", "controller.cli", "demo", "--json", "--workspace", str(workspace)]
    return [*base, "--port-offset", free_offset(), "--deadline-s", "150", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def demo(workspace: Path, *more: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        words(workspace, *more), env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return done.returncode, json.loads(lines[-1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    workspace = tmp_path_factory.mktemp("demo") / "run"
    code, summary = demo(workspace, "--secret-bits", "300000", "--seed", "7", "--keep")
    assert code == 0, summary
    return workspace, summary


def test_the_last_line_has_what_was_promised(finished: tuple[Path, dict[str, object]]) -> None:
    _, summary = finished
    assert [name for name in WANTED if summary.get(name) is None] == []
    assert summary["secret_bits"] >= 300_000  # type: ignore[operator]
    assert summary["keys_match"] is True
    assert summary["message_read"] is True
    assert summary["peak_memory_bytes"] < 2e9  # type: ignore[operator]


@pytest.mark.parametrize("basis", ["z", "x"])
def test_errors_are_those_of_the_light(finished: tuple[Path, dict[str, object]], basis: str) -> None:
    """Within 4 standard errors of what the bench alone knows."""
    _, summary = finished
    assert abs(summary[f"truth_deviation_{basis}"]) < 4  # type: ignore[arg-type]
    assert 0.005 < summary[f"qber_{basis}"] < 0.05  # type: ignore[operator]


def test_both_nodes_recorded_the_same_keys(finished: tuple[Path, dict[str, object]]) -> None:
    workspace, summary = finished
    runs = [read_run(Path(path)) for path in summary["run_files"].values()]  # type: ignore[attr-defined]
    keys = [[(b.round, b.secret_bits, b.key_ids, b.transcript_sha256) for b in run.keys] for run in runs]
    assert keys[0] == keys[1]
    assert sum(b.secret_bits for b in runs[0].keys) == summary["amplified_bits"]
    assert (workspace / "report.html").stat().st_size > 50_000
    for run in runs:
        assert {c["routine"] for c in run.calibrations}
        assert run.snapshots


def test_no_secret_is_readable_by_others(finished: tuple[Path, dict[str, object]]) -> None:
    workspace, _ = finished
    secrets = [*workspace.glob("trust/*.kek"), *workspace.glob("trust/*.key"), *workspace.glob("state/*/*.pem")]
    assert len(secrets) > 6
    assert [path.name for path in secrets if path.stat().st_mode & 0o077] == []
    assert not list(workspace.glob("trust/*.psk"))  # destroyed by the import


def test_under_attack_no_key_appears_and_the_reason_is_named(tmp_path: Path) -> None:
    code, summary = demo(tmp_path / "run", "--attack", "intercept-resend", "--seed", "8")
    assert code == 5
    assert summary["blocks"] == 0
    assert summary["secret_bits"] == 0
    assert "QBER" in str(summary["error"])
    assert not list((tmp_path / "run").glob("trust/*"))  # without --keep nothing secret stays


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demo whose nodes are up and talk to each other."""
    workspace = tmp_path / "run"
    process = subprocess.Popen(
        words(workspace), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    give_up_s = time.monotonic() + 60
    while not all((workspace / f"state/{name}/control.sock").exists() for name in ("alice", "bob")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    yield process, workspace
    process.kill()
    process.wait(10)


def children_of(pid: int) -> dict[str, int]:
    """Process numbers of bench, alice and bob, by their command lines."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        line = Path(f"/proc/{child}/cmdline").read_bytes().decode()
        found |= {name: int(child) for name in ("bench", "alice", "bob") if f"configs/{name}.toml" in line}
    assert sorted(found) == ["alice", "bench", "bob"]
    return found


def have_ended(numbers: dict[str, int], limit_s: float) -> bool:
    give_up_s = time.monotonic() + limit_s
    while time.monotonic() < give_up_s:
        if not any(Path(f"/proc/{pid}").exists() for pid in numbers.values()):
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_stops_everything(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, workspace = running
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["exit_code"] == 130
    assert have_ended(children, 1)
    assert not (workspace / "bench.ready").exists()


def test_a_node_that_dies_stops_the_others(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, _ = running
    children = children_of(process.pid)
    os.kill(children["bob"], signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "node bob ended by itself with signal SIGKILL" in json.loads(out.splitlines()[-1])["error"]
    assert have_ended(children, 1)


def test_a_killed_demo_leaves_nothing_running(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, _ = running
    children = children_of(process.pid)
    process.kill()
    process.wait(10)
    assert have_ended(children, 40)
