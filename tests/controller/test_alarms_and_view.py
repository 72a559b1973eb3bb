"""Alarms are explained, remembered until seen, and shown; the live view says what house rules ask, without colour."""

from __future__ import annotations

import ast
import io

import pytest
from rich.console import Console
from shell_samples import ROOT, status

from controller.monitoring.alarms import CATALOGUE, AlarmBoard
from controller.monitoring.live import show
from controller.monitoring.status import AlarmState, CalibrationState, status_from_json, status_to_json


def test_an_alarm_stays_until_it_is_both_over_and_seen() -> None:
    board = AlarmBoard()
    assert board.raise_alarm("no-light", "300 Hz", "t1")
    assert not board.raise_alarm("no-light", "200 Hz", "t2")
    assert board.states == (AlarmState(id="no-light", detail="200 Hz", raised_utc="t1"),)
    assert board.blocking == ("no-light",)
    assert board.clear("no-light", "t3")
    assert not board.clear("no-light", "t4")
    assert board.blocking == ()
    assert board.states[0].cleared_utc == "t3"
    assert board.acknowledge("no-light")
    assert board.states == ()
    board.raise_alarm("qber-x", "0.2 > 0.05", "t5")
    assert board.acknowledge("qber-x")
    assert board.blocking == ("qber-x",)  # seen, but not over
    board.clear("qber-x", "t6")
    assert board.states == ()
    assert not board.acknowledge("qber-x")


def test_an_unknown_alarm_is_a_bug() -> None:
    with pytest.raises(KeyError):
        AlarmBoard().raise_alarm("no-such", "", "t")


def test_every_alarm_says_meaning_causes_and_action() -> None:
    for kind in CATALOGUE.values():
        assert kind.meaning
        assert kind.causes
        assert kind.action


def test_every_alarm_that_the_code_raises_is_in_the_catalogue() -> None:
    """First arguments, where literal, of raise_alarm, clear_alarms, LinkStopped and LinkFault in the controller."""
    found: set[str] = set()
    for path in (ROOT / "controller").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _called(node) in (
                "raise_alarm",
                "LinkStopped",
                "LinkFault",
                "_tell_fault",
            ):
                found |= {a.value for a in node.args[:2] if isinstance(a, ast.Constant) and _is_id(a.value)}
    assert "no-light" in CATALOGUE
    assert len(found) > 4
    assert found - set(CATALOGUE) == set()


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_id(value: object) -> bool:
    return isinstance(value, str) and value.replace("-", "").isalpha() and value.islower()


def test_status_survives_the_wire() -> None:
    sent = status(detector_rates_hz=(5e6, 1e6), qber_z=0.012, alarms=(AlarmState(id="x", detail="", raised_utc="t"),))
    assert status_from_json(status_to_json(sent)) == sent


def test_the_view_shows_values_beside_their_limits_in_words() -> None:
    console = Console(width=160, no_color=True, record=True, file=io.StringIO())
    alarms = (AlarmState(id="qber-x", detail="0.061 > 0.050", raised_utc="t"),)
    console.print(
        show(
            [
                status(qber_z=0.0123, qber_x=0.061, alarms=alarms),
                status(node="bob", role="bob", state="Stopped: no light"),
            ]
        )
    )
    text = console.export_text()
    for words in (
        "0.0123 <= 0.050",
        "0.0610 > LIMIT 0.050",
        "Stopped: no light",
        "Alice (transmitter)",
        "!!! alice: qber-x",
    ):
        assert words in text, words


def test_both_nodes_and_a_raised_alarm_fit_a_small_terminal() -> None:
    """80 columns and 24 lines, of which the cursor needs one; the title counts what is raised."""
    alarms = (
        AlarmState(id="sync-lost", detail="sync string not found: best correlation z = 4.6", raised_utc="t"),
        AlarmState(id="round-aborted", detail="too few single photons " * 9, raised_utc="t", cleared_utc="t"),
    )
    full = {
        "stage": "waiting for syndromes",
        "target_secret_bits": 1_100_000,
        "secret_bits": 230_827,
        "secret_key_rate_bps": 50_440.0,
        "secret_key_rate_link_bps": 924_788.0,
        "qber_z": 0.0165,
        "qber_x": 0.0217,
        "keys_in_store": 44_734,
        "detector_rates_hz": (6.35e6, 1.79e6, 1.71e6),
        "mean_photon_numbers": (0.3994, 0.1499),
        "clock_drift_ppm": -0.00001,
        "sync_phase_ps": 0.9,
        "auth_rounds_left": 681,
        "auth_bits_consumed": 62_560,
        "calibrations": tuple(
            CalibrationState(routine=name, id="i", verdict="PASS", summary="", age_s=12.0, validity_s=3600.0)
            for name in ("mean-photon-number", "interferometer-phase")
        ),
    }
    console = Console(width=80, no_color=True, record=True, file=io.StringIO())
    console.print(show([status(node="bob", role="bob", alarms=alarms, **full), status(**full)], header="link"))
    text = console.export_text()
    assert len(text.splitlines()) <= 23, text
    assert "1 ALARM" in text
    assert "!!! bob: sync-lost" in text
    assert "was bob: round-aborted" in text
    assert "230,827 of 1,100,000" in text
