"""The run file: what goes in comes out, while it is written, after kill -9, and when the disk is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shell_samples import ROOT, block

from controller.errors import StorageFailure
from controller.recorder import CHANNELS, HISTOGRAM_BINS, RunRecorder, read_run
from drivers.roles import Identity, Snapshot


def recorder(path: Path) -> RunRecorder:
    return RunRecorder(
        path, node="bob", role="bob", run_id="r1", started_utc="2026-11-22T08:00:00Z",
        config_text="[node]\nname = 'b'\n", versions={"qkd": "0.1.0"},
    )  # fmt: skip


def test_everything_can_be_read_back_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    snapshot = Snapshot(Identity("V", "M", "S", "F"), {"current_a": 0.12}, {"current_a": "120.000"})
    with recorder(path) as run:
        run.snapshots({"laser": snapshot}, time_utc="t")
        run.calibration({"routine": "gates", "values": {"gate_0_start_ps": np.float64(1.5)}, "raw": np.arange(3)})
        run.block(block(round=3))
        run.block(block(round=4, outcome="aborted", reason="QBER X 0.2 > 0.05", secret_bits=0))
        run.rates([1.0, 2.0, 3.0], link_s=0.5)
        run.histogram(np.full((CHANNELS, HISTOGRAM_BINS), 7, np.int64), bin_ps=4.0)
        run.event({"event": "alarm"})
        run.summary({"secret_bits": 1})
        run.summary({"secret_bits": 2})
        seen = read_run(path)
    assert seen.blocks == (block(round=3), block(round=4, outcome="aborted", reason="QBER X 0.2 > 0.05", secret_bits=0))
    assert seen.keys == seen.blocks[:1]
    assert seen.snapshots[0]["instruments"]["laser"]["values"] == {"current_a": 0.12}
    assert seen.calibrations == ({"routine": "gates", "values": {"gate_0_start_ps": 1.5}, "raw": [0, 1, 2]},)
    assert seen.rates[0, 1:].tolist() == [0.5, 1.0, 2.0, 3.0, 0.0]
    assert seen.histograms.sum() == 7 * CHANNELS * HISTOGRAM_BINS
    assert seen.histogram_headers[0, 1] == 4.0
    assert (seen.events, seen.summary) == (({"event": "alarm"},), {"secret_bits": 2})
    assert (seen.node, seen.config_text, seen.versions) == ("bob", "[node]\nname = 'b'\n", {"qkd": "0.1.0"})


def test_a_killed_writer_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    program = (
        "import os, signal, sys; sys.path.insert(0, 'tests/controller')\n"
        "from pathlib import Path\nfrom test_recorder import recorder\nfrom shell_samples import block\n"
        f"run = recorder(Path({str(path)!r}))\n"
        "for n in range(20): run.block(block(round=n))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert [record.round for record in read_run(path).blocks] == list(range(20))


def test_a_run_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    recorder(path).close()
    with pytest.raises(StorageFailure, match="cannot create"):
        recorder(path)


def test_a_full_disk_is_a_storage_failure_and_what_was_written_stays(tmp_path: Path) -> None:
    """The system refuses to let the file grow beyond 300 kB, as a full disk does."""
    path = tmp_path / "run.h5"
    program = (
        "import resource, signal, sys; sys.path.insert(0, 'tests/controller')\n"
        "from pathlib import Path\nfrom test_recorder import recorder\nfrom shell_samples import block\n"
        "from controller.errors import StorageFailure\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        f"run = recorder(Path({str(path)!r}))\n"
        "try:\n    for n in range(10_000): run.block(block(round=n))\n"
        "except StorageFailure as error:\n    print(n, error, flush=True)\n    import os; os._exit(5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5, done.stderr
    written = int(done.stdout.split()[0])
    assert "cannot be written" in done.stdout
    assert written > 10
    assert [record.round for record in read_run(path).blocks][: written - 1] == list(range(written - 1))


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_what_is_no_run_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(content)
    with pytest.raises(StorageFailure, match=r"not a readable run file"):
        read_run(path)


def test_shapes_and_foreign_types_are_refused(tmp_path: Path) -> None:
    with recorder(tmp_path / "run.h5") as run:
        with pytest.raises(ValueError, match="histogram of shape"):
            run.histogram(np.zeros((4, 3), np.int64), bin_ps=1.0)
        with pytest.raises(TypeError, match="no place in a run file"):
            run.event({"key": bytearray(b"secret"), "x": object()})
