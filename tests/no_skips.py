"""With ``FOVEAL_NO_SKIPS`` set, as in CI, a skipped test fails the run: nothing goes missing quietly."""

from __future__ import annotations

import os

import pytest

_skipped: list[str] = []


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note whole files that are skipped."""
    _note(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note tests that are skipped, also by their fixtures."""
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn success into failure."""
    if _forbidden() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for line in _forbidden():
        terminalreporter.write_line(f"SKIPPED, which FOVEAL_NO_SKIPS forbids: {line}", red=True)


def _note(report: pytest.CollectReport | pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        _skipped.append(f"{report.nodeid}: {reason}")


def _forbidden() -> list[str]:
    return _skipped if os.environ.get("FOVEAL_NO_SKIPS") else []
