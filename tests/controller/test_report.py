"""The report: one page without outside references that shows what the run files say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from shell_samples import BOB_TEXT, block

from controller.monitoring.report import write_report
from controller.recorder import CHANNELS, HISTOGRAM_BINS, RunRecorder
from drivers.roles import Identity, Snapshot

CHECK = {"name": "visibility", "value": 0.93, "sigma": None, "low": 0.85, "high": None, "unit": ""}


def make_run(path: Path, *, blocks: int) -> Path:
    with RunRecorder(
        path, node="bob", role="bob", run_id="run<1>", started_utc="2026-11-22T08:00:00Z", config_text=BOB_TEXT,
        versions={"qkd": "0.1.0"},
    ) as run:  # fmt: skip
        run.snapshots({"tagger": Snapshot(Identity("ID Quantique", "ID900", "S9", "2.0"), {"time_unit_ps": 1}, {})},
                      time_utc="t")  # fmt: skip
        values = {
            "gate_0_channel": 1,
            "gate_0_start_ps": -90.0,
            "gate_0_width_ps": 180.0,
            "gate_0_basis": 0,
            "gate_0_bit": 0,
        }
        run.calibration({"routine": "gates", "values": values, "checks": [CHECK], "series": {"x": [1, 2], "y": [3, 4]}})
        for n in range(blocks):
            run.block(block(round=n))
            run.rates([5e6, 1e6, 1e6], link_s=n * 0.25)
            run.histogram(np.arange(CHANNELS * HISTOGRAM_BINS).reshape(CHANNELS, HISTOGRAM_BINS), bin_ps=4.0)
    return path


class Page(HTMLParser):
    """Counts elements and collects outside references and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures = 0
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.figures += tag == "svg"
        self.references += [value for name, value in attrs if name in ("src", "href") and value and value[0] != "#"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_run_with_keys(tmp_path: Path) -> None:
    summary = {
        "true_qber_z": 0.0151,
        "true_qber_x": 0.0209,
        "keys_match": True,
        "keys_compared": 16,
        "attack": "",
        "wall_s": 27.0,
    }
    report = write_report(tmp_path / "report.html", {"bob": make_run(tmp_path / "run.h5", blocks=3)}, summary)
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.figures == 8  # seven plots and the calibration's series
    assert page.references == []
    assert not re.search(r"url\((?!#)", text)
    for words in (
        "560,586",
        "of 3",
        "phases are random",
        "ID Quantique ID900",
        "truth Z (bench) 0.0151",
        "16 keys",
        "run<1>",
    ):
        assert words in page.text, words
    assert "<1>" not in text.replace("&lt;1&gt;", "")  # names are escaped


def test_a_run_without_a_block_says_so(tmp_path: Path) -> None:
    report = write_report(tmp_path / "report.html", {"bob": make_run(tmp_path / "run.h5", blocks=0)})
    page = Page(report.read_text(encoding="utf-8"))
    assert "no key" in page.text
    assert page.figures == 1
