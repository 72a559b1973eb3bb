"""The log of a node holds no secrets, whatever is logged and however it fails."""

from __future__ import annotations

import json
from pathlib import Path

from controller.logs import LOG_NAME, open_log


def fail_with(secret_key: bytes) -> None:
    raise RuntimeError(f"no use for {len(secret_key)} bytes")


def test_a_traceback_does_not_show_the_values_of_variables(tmp_path: Path) -> None:
    """The log's traceback formatter writes the local variables of every frame unless it is told not to."""
    log = open_log(tmp_path, "alice")
    secret = bytes(range(65, 91))
    try:
        fail_with(secret)
    except RuntimeError:
        log.exception("a bug")
    text = (tmp_path / LOG_NAME).read_text(encoding="utf-8")
    assert secret.decode() not in text
    assert "no use for 26 bytes" in text
    assert "fail_with" in text


def test_bytes_and_suspicious_names_are_withheld(tmp_path: Path) -> None:
    open_log(tmp_path, "alice").info("said", payload=b"abcdef", psk="0123", pad_offset=32)
    line = json.loads((tmp_path / LOG_NAME).read_text(encoding="utf-8"))
    assert line["payload"] == "<bytes of size 6 withheld>"
    assert line["psk"] == "<str of size 4 withheld>"
    assert line["pad_offset"] == 32
