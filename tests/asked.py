"""What the tests with a machine share: asking it as root, and an apply or plan that is listened to."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.errors import HoldfastError
from holdfast.lab import Lab

Heard = Callable[[dict[str, Any]], object]


@dataclass
class Told:
    """One apply or plan: ``result`` None and ``error`` given where it failed; ``notes`` and what was ``waited`` for."""

    result: Result | None = None
    error: HoldfastError | None = None
    notes: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def well(self) -> Result:
        """The result; a failure is raised."""
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result

    @property
    def changed(self) -> list[str]:
        assert self.result is not None, self.error
        return self.result.changed

    @property
    def driver_changed(self) -> list[str]:
        return [name for name in self.changed if name.startswith("NVIDIA")]

    @property
    def driver_notes(self) -> str:
        return "\n".join(note for note in self.notes if note.startswith("nvidia: "))


def listen(verb: Callable[..., Result], name: str, heard: Heard | None = None, **options: Any) -> Told:
    """``runner.apply`` or ``runner.plan`` with ``options``; ``heard`` is called with every event of it as it comes."""
    told, handle = Told(), runner.handle

    def spy(event: dict[str, Any], *rest: Any) -> None:
        if event["event"] == "note":
            told.notes.append(str(event.get("message", "")))
        if event["event"] == "waiting" and event.get("what") not in told.waited:
            told.waited.append(str(event.get("what", "")))
        if heard is not None:
            heard(event)
        handle(event, *rest)

    start = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "handle", spy)
        try:
            told.result = verb(name, **options)
        except HoldfastError as error:
            told.error = error
    told.seconds = time.monotonic() - start
    return told


def shell(lab: Lab, script: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """A shell script as root. It travels by stdin, so nothing of it stands in an argv."""
    return lab.ssh(["sudo", "sh", "-s"], input=script, timeout=timeout)


def root(lab: Lab, script: str, timeout: float, status: int | None = 0) -> str:
    """What the script prints; it must end with ``status`` (None: with any)."""
    done = shell(lab, script, timeout)
    assert status is None or done.returncode == status, (
        f"{script[:300]}\n{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
    return done.stdout


def boot_id(lab: Lab) -> str:
    done = lab.ssh(["cat", "/proc/sys/kernel/random/boot_id"], timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
