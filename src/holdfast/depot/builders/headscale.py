"""headscale: one static binary, as the official release has it."""

from __future__ import annotations

from pathlib import Path

from holdfast.depot.builders import Built, golang
from holdfast.depot.lock import Pin
from holdfast.progress import Progress


def build(pin: Pin, work: Path, log: Path, progress: Progress) -> Built:
    golang.build("headscale", pin, {}, work, log, progress, cgo=False)
    return Built(work / "headscale")
