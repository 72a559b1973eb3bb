"""Rules for the whole suite: where shared recordings lie, and which skips a run that forbids skips accepts."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

ALLOWED_REASONS = ("no recordings beside the repository", "../shared/", "hardware")
_forbidden: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of real instruments run only when asked for by `-m hardware`."""
    if "hardware" in (config.option.markexpr or ""):
        return
    for item in items:
        if item.get_closest_marker("hardware"):
            item.add_marker(pytest.mark.skip(reason="hardware: needs a real instrument (-m hardware)"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With QKD_FORBID_SKIPS=1 a skip for any other reason than the allowed ones is remembered."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("QKD_FORBID_SKIPS") == "1":
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_REASONS):
            _forbidden.append(f"{item.nodeid}: {reason}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the forbidden skips before pytest's own last line."""
    for line in _forbidden:
        terminalreporter.write_line(f"forbidden skip: {line}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Forbidden skips fail the run."""
    if _forbidden and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
