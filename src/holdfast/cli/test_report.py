"""A pytest plugin: a test that fails says why at once, and not only when the whole rung has ended.

Loaded by `./holdfast test` with ``-p holdfast.cli.test_report``.
"""

from __future__ import annotations

import pytest

from holdfast.cli.verify_report import reason_of

LINES = 12


class Report:
    """Writes a line for the test and those of its reason where pytest writes its dots."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed:
            return
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        when = "" if report.when == "call" else f" ({report.when})"
        terminal.ensure_newline()
        terminal.write_line(f"RED {report.nodeid}{when} after {report.duration:.1f} s", red=True)
        for line in reason_of(report).splitlines()[:LINES]:
            terminal.write_line(f"    {line}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report(config))
