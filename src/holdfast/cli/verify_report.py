"""A pytest plugin: what the checks of tests/verify came to, as JSON lines on the descriptor $HOLDFAST_VERIFY names.

Loaded by `./holdfast verify` with ``-p holdfast.cli.verify_report``.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

VARIABLE = "HOLDFAST_VERIFY"
# The askpass program on the machine, where sudo there asks for a password.
ASKPASS = "HOLDFAST_ASKPASS"


def pytest_configure(config: pytest.Config) -> None:
    """testinfra knows no sudo password: let its sudo ask the program that answers (cli/askpass.py)."""
    program = os.environ.get(ASKPASS)
    if program:
        from testinfra.backend.base import BaseBackend

        def sudo(self: Any, command: str, user: str | None) -> str:
            chosen = f"-u {user} " if user else ""
            return str(self.quote(f"SUDO_ASKPASS={program} sudo -A {chosen}/bin/sh -c %s", command))

        BaseBackend.get_sudo_command = sudo


def _emit(event: str, **fields: Any) -> None:
    os.write(int(os.environ[VARIABLE]), (json.dumps({"event": event, **fields}) + "\n").encode())


def pytest_collection_finish(session: pytest.Session) -> None:
    _emit("collected", of=len(session.items))


def pytest_runtest_logstart(nodeid: str, location: Any) -> None:
    _emit("begin", name=name_of(nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One result for a check: its call, or what kept it from being called."""
    if report.when == "call" or (report.when == "setup" and not report.passed) or (report.when == "teardown" and report.failed):
        _emit("result", name=name_of(report.nodeid), outcome=report.outcome, reason=reason_of(report))


def name_of(nodeid: str) -> str:
    """'test_ollama.py::test_loopback_only[coder]' -> 'ollama: loopback only [coder]'."""
    path, _, test = nodeid.partition("::")
    component = path.rsplit("/", 1)[-1].removesuffix(".py").removeprefix("test_")
    words = test.removeprefix("test_").replace("_", " ").replace("[", " [")
    return f"{component}: {words}"


def reason_of(report: pytest.TestReport) -> str:
    """Why it was skipped, or the assertion that failed; '' when it passed."""
    if report.passed:
        return ""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(crash.message if crash is not None else report.longreprtext)
    return said.removeprefix("Failed: ")[:2000]  # pytest.fail's own word
