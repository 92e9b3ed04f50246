"""The depot and the model registry, as processes in the control namespace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, start, wait_until
from holdfast.paths import ROOT


def _serve(layout: Layout, nonce: str, role: str, port: int, arguments: Sequence[str | Path]) -> Process:
    inside = ["ip", "netns", "exec", layout.netns("control")]
    argv = [*inside, sys.executable, *arguments, "--listen", f"{at.CONTROL}:{port}"]
    log = layout.logs / f"{role}.log"
    process = start(role, argv, nonce=nonce, log=log, env={"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"})
    probe = [*inside, "socat", "-u", "OPEN:/dev/null", f"TCP:{at.CONTROL}:{port},connect-timeout=2"]
    wait_until(
        f"the lab's {role} does not answer on {at.CONTROL}:{port}",
        lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0,
        seconds=30, process=process, log=log,
    )  # fmt: skip
    return process


def depot(layout: Layout, nonce: str, folder: Path) -> Process:
    """Serve the depot folder at ``layout.DEPOT_URL``."""
    return _serve(layout, nonce, "depot", 8000, ["-m", "holdfast.lab.fileserver", "--folder", folder])


def registry(layout: Layout, nonce: str, folder: Path) -> Process:
    """Serve the models in ``folder`` at ``layout.MODELS_URL``."""
    return _serve(layout, nonce, "registry", 5000, ["-m", "holdfast.lab.models.registry", "--models", folder])
