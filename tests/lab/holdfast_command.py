"""The command line as a user runs it, for the tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from holdfast.apply.run import PYINFRA
from holdfast.paths import ROOT

# The pattern goes by stdin, so that it is in no argv that it could find. A shell has the mark in its argv, the rest in their
# environments. Nothing found is no failure.
_MARKED = "printf %s HOLDFAST_APPLY= | grep -lsaF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline || true"


def words(*args: str) -> list[str]:
    return [sys.executable, "-m", "holdfast", *args]


def pyinfra_words(host: str, *flags: str) -> list[str]:
    return [*PYINFRA, "inventory.py", "deploy.py", "--limit", host, *flags]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}


def holdfast(*args: str, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    return _run(words(*args), timeout, env)


def pyinfra(host: str, *flags: str, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
    """The same without Holdfast's command line, as somebody who knows pyinfra would."""
    return _run(pyinfra_words(host, *flags), timeout, env)


def _run(argv: list[str], timeout: float, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=ROOT, env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The one object on stdout, and nothing else there."""
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def marked(workstation: Any) -> list[str]:
    """Processes on the workstation that belong to an apply, the observer's own shells left out."""
    return sorted({line.split("/")[2] for line in workstation.root(_MARKED).splitlines()})
