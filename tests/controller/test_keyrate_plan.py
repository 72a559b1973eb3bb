"""`qkd keyrate plan` and `proofs`: table, JSON, figure, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.cli.entry import run
from controller.errors import EXIT_CONFIGURATION, EXIT_OK

PLAN = ["keyrate", "plan", "--config", str(Path(__file__).parents[2] / "configs/demo/alice.toml"), "--step-km", "60"]


def test_the_table_has_a_line_per_distance(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PLAN) == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert "PLOB" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["60", "120", "180", "240"]


def test_json_and_the_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure = tmp_path / "rate.png"
    assert run([*PLAN, "--json", "--plot", str(figure), "--block", "3000000"]) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    rows = answer["rows"]
    assert [row["distance_km"] for row in rows] == [60, 120, 180, 240]
    assert all(0 < row["secret_rate_bps"] < 0.05 * row["plob_bps"] for row in rows)
    assert all(sum(row["row"]["counts"]["n_key"]) == pytest.approx(3e6, rel=0.02) for row in rows)
    assert answer["plot"] == str(figure)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_better_detectors_give_more_key(capsys: pytest.CaptureFixture[str]) -> None:
    rates = []
    for efficiency in ("0.2", "0.9"):
        assert run([*PLAN, "--json", "--to-km", "60", "--detector-efficiency", efficiency]) == EXIT_OK
        rates.append(json.loads(capsys.readouterr().out)["rows"][0]["secret_rate_bps"])
    assert rates[1] > 2 * rates[0]


@pytest.mark.parametrize("words", [["--step-km", "0"], ["--step-km", "500"], ["--to-km", "1e9"]])
def test_distances_that_make_no_table_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, *words]) == EXIT_CONFIGURATION
    assert "km" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rate.txt", "nowhere/rate.png"])
def test_figures_that_cannot_be_written_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*PLAN, "--plot", str(tmp_path / name)]) == EXIT_CONFIGURATION
    assert name in capsys.readouterr().err


def test_the_command_without_a_subcommand_is_the_table_of_block_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keyrate", "--config", PLAN[3], "--json"]) == EXIT_OK
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 6


def test_proofs_say_what_they_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keyrate", "proofs", "--json"]) == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    known = {proof["name"]: proof for proof in answer["proofs"]}
    assert known[answer["node"]]["is_for_key"]
    assert not known["rusca2018/1"]["is_for_key"]
    assert run(["keyrate", "proofs"]) == EXIT_OK
    text = capsys.readouterr().out
    for name, proof in known.items():
        assert name in text
        assert all(words in text for words in (*proof["assumptions"], *proof["clips"]))
