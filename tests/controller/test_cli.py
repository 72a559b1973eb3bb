"""The command line as a user meets it: help at once, one line per fault, exit codes, --json everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shell_samples import ALICE_TEXT, ROOT
from typer.main import get_command

from controller.cli.entry import app, run

RECORDINGS = ROOT.parent / "shared/data/recordings"


def every_command() -> list[tuple[str, ...]]:
    """All commands, as words."""
    found: list[tuple[str, ...]] = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [(name, sub) for sub in inner] if inner else [(name,)]
    return found


def test_the_commands_of_the_house_exist() -> None:
    names = {words[0] for words in every_command()}
    wanted = {"doctor", "config", "run", "status", "stop", "calibrate", "keys", "sim", "tags", "trust", "demo"}
    assert wanted <= names


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_teaches_and_knows_json(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.split("Options:")[0].split()) > 15  # more than a title
    assert "--json" in text


def test_help_appears_at_once() -> None:
    """Slow libraries stay out: that is what makes it quick, on any machine."""
    program = "import sys; import controller.cli.entry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "numba", "scipy", "pyvisa", "pydantic", "matplotlib", "h5py"} & set(done.stdout.split())


def test_a_wrong_option_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--confg", "x"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("qkd: No such option: --confg")
    assert len(said.err.splitlines()) == 1


def test_a_faulty_node_file_is_exit_code_2_without_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.toml"
    file.write_text(ALICE_TEXT.replace("thorlabs_mbx", "thorlabs_mbz"), encoding="utf-8")
    assert run(["config", "check", str(file), "--json"]) == 2
    said = capsys.readouterr()
    assert f"qkd: {file}: instruments.modulator.driver = 'thorlabs_mbz': no such driver" in said.err
    assert "thorlabs_mbx" in said.err
    assert json.loads(said.out)["exit_code"] == 2


def test_config_check_of_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check", str(ROOT / "configs/demo/bob.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instruments"]["tagger"] == "id900"


def test_a_node_that_does_not_run_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs/demo/alice.toml")
    for words in (["status"], ["stop"], ["alarms"]):
        assert run([*words, "-c", config, "-w", str(tmp_path)]) == 4
        assert "no node answers" in capsys.readouterr().err


def test_alarms_are_explained_without_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alarms", "-c", "absent.toml", "--catalogue", "--json"]) == 0
    ids = {alarm["id"] for alarm in json.loads(capsys.readouterr().out)["alarms"]}
    assert {"no-light", "qber-x", "disk-full"} <= ids


def test_doctor_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    verdicts = {check["name"]: check["verdict"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert verdicts["packages"] == "ok"
    assert verdicts["self-test"] == "ok"


def test_doctor_of_a_node_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs/demo/alice.toml")
    words = ["doctor", "-c", config, "-w", str(tmp_path), "--port-offset", "700"]
    assert run(words) == 2
    assert "kme.private_key: " in capsys.readouterr().out
    for make in (["psk"], ["ca"]):
        assert run(["trust", *make, "-w", str(tmp_path)]) == 0
    assert run(["trust", "kek", "-c", config, "-w", str(tmp_path)]) == 0
    (tmp_path / "trust/kme-alice.key").chmod(0o644)
    assert run(words) == 5
    assert "has mode 644" in capsys.readouterr().out
    (tmp_path / "trust/kme-alice.key").chmod(0o600)
    assert run(words) == 0


def test_trust_files_are_not_overwritten(tmp_path: Path) -> None:
    config = str(ROOT / "configs/demo/alice.toml")
    for words in (["psk"], ["kek", "-c", config]):
        assert run(["trust", *words, "-w", str(tmp_path)]) == 0
        assert run(["trust", *words, "-w", str(tmp_path)]) == 2
    for secret in ("alice.psk", "bob.psk", "alice.kek"):
        assert (tmp_path / "trust" / secret).stat().st_mode & 0o077 == 0


def test_doctor_acknowledges_a_broken_station(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs/demo/alice.toml")
    latch = tmp_path / "state/alice/station.broken"
    latch.parent.mkdir(parents=True)
    latch.write_text("light on: laser: nothing came", encoding="utf-8")
    assert run(["run", "-c", config, "-w", str(tmp_path)]) == 3
    assert "latched broken: light on: laser: nothing came" in capsys.readouterr().err
    run(["doctor", "-c", config, "-w", str(tmp_path), "--acknowledge"])
    assert not latch.exists()


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the repository")
def test_the_qutag_recording_shows_its_80_mhz_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tags", "info", str(RECORDINGS / "qutag_80MHz_hbt.qutag")]
    picture = tmp_path / "tags.png"
    assert run([*words, "--json", "--plot", str(picture)]) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert 1e6 / summary["pulse_period"]["period_ps"] == pytest.approx(80.0, abs=0.1)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(words) == 0
    text = capsys.readouterr().out
    assert "pulse train: period 12" in text
    assert "time to the previous click:" in text


def test_a_file_of_no_known_format_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.bin").write_bytes(b"hello")
    assert run(["tags", "info", str(tmp_path / "x.bin")]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
