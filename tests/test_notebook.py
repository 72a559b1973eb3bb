"""The notebook's cells run, one after the other, as they stand there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.link import free_offset

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "examples" / "open-an-instrument.ipynb"
PORTS = "PORT_OFFSET = 700"


def code_cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_cells_run_and_show_the_pulses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    cells = code_cells()
    assert cells[0].count(PORTS) == 1
    cells[0] = cells[0].replace(PORTS, f"PORT_OFFSET = {free_offset()}")
    names: dict[str, Any] = {}
    try:
        for number, cell in enumerate(cells):
            exec(compile(cell, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
        assert names["bench"].poll() is not None
    finally:
        stop(names.get("bench"))
    early = names["time_ps"][names["channel"] == 1] % 1600
    counts, _ = np.histogram(early, bins=160, range=(0, 1600))
    assert counts.max() > 1000 * max(1, np.median(counts))
    assert names["axes"].get_legend() is not None


def stop(bench: subprocess.Popen[bytes] | None) -> None:
    if bench is not None and bench.poll() is None:
        bench.kill()
        bench.wait()
