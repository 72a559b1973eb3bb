"""A demonstration takes a new or empty directory, and neither changes nor forgets what it finds in another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell_samples import ROOT

from controller.demo import Demo, DemoOptions
from controller.errors import ConfigurationError


def demo(workspace: Path) -> Demo:
    return Demo(DemoOptions(workspace=workspace, configs=ROOT / "configs/demo"), lambda *_: None)


def test_keys_of_somebody_else_stay(tmp_path: Path) -> None:
    key = tmp_path / "trust" / "alice.kek"
    key.parent.mkdir()
    key.write_bytes(b"somebody's")
    refused = demo(tmp_path)
    with pytest.raises(ConfigurationError, match="not empty"):
        refused.prepare()
    refused.forget_secrets()
    assert key.read_bytes() == b"somebody's"
    assert [path.name for path in tmp_path.iterdir()] == ["trust"]


def test_an_empty_directory_is_taken_and_its_secrets_are_forgotten(tmp_path: Path) -> None:
    taken = demo(tmp_path)
    taken.prepare()
    assert (tmp_path / "trust" / "alice.kek").is_file()
    taken.forget_secrets()
    assert not (tmp_path / "trust").exists()
    assert (tmp_path / "configs" / "alice.toml").is_file()


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="file"):
        demo(tmp_path / "file").prepare()
