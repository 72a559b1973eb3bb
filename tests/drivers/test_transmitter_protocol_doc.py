"""The published protocol: its examples run, and its tables say what the driver does."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from drivers.modulators import txp_wire as wire

PAGE = Path(__file__).parents[2] / "docs" / "transmitter-protocol.md"


def test_examples() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0


def test_fault_bits() -> None:
    published = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert [(int(bit), name) for bit, name in published] == list(enumerate(wire.FAULTS))


def test_every_state_is_explained() -> None:
    words = set(re.findall(r"\b[A-Z]+\b", PAGE.read_text()))
    assert set(wire.STATES) <= words


def test_the_least_implementation_is_what_the_driver_sends() -> None:
    """Every command in the driver's source stands in section 7."""
    source = (Path(wire.__file__).parent / "txp_transmitter.py").read_text()
    section = PAGE.read_text().split("## 7.")[1]
    sent = set(re.findall(r'"(\*?[A-Z]{3,4}(?::[A-Z]{3,4})*\??)[ ",]', source)) - {"NAN", "OFF", "IDLE", "FAULT", "TXP"}
    assert {"CAP?", "SAFE", "SESS:STAT?", "STAT:PROB"} <= sent
    assert sorted(command for command in sent if command not in section) == []
