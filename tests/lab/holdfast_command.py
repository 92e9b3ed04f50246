"""The command line as a user runs it, for the tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from holdfast.lab import Lab
from holdfast.paths import ROOT

# The pattern goes by stdin, so that it is in no argv that it could find. A shell has the mark in its argv, the rest in their
# environments. Nothing found is no failure.
_MARKED = "printf %s HOLDFAST_APPLY= | grep -lsaF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline || true"


def words(*args: str) -> list[str]:
    return [sys.executable, "-m", "holdfast", *args]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}


def holdfast(*args: str, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    return subprocess.run(
        words(*args), cwd=ROOT, env=environment(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    """The one object on stdout, and nothing else there."""
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def marked(workstation: Lab) -> list[str]:
    """Processes on the workstation that belong to an apply, the observer's own shells left out."""
    done = workstation.ssh(["sudo", "sh", "-s"], input=_MARKED)
    assert done.returncode == 0, done.stderr
    return sorted({line.split("/")[2] for line in done.stdout.splitlines()})
