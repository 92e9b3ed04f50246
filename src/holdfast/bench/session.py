"""Starting the program on the machine and listening to it until it has ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from holdfast.bench.program import program
from holdfast.errors import HoldfastError
from holdfast.progress import Progress

_PATIENCE_S = 20.0


def measure(words: Sequence[str], job: dict[str, Any], progress: Progress, *, name: str, hint: str) -> dict[str, Any]:
    """What was seen on the machine. ``words`` start its Python with the program on stdin (over ssh, or here).

    ``name`` of the machine and ``hint`` (how a person gets in) are for errors. Raises HoldfastError.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            child = subprocess.Popen(
                [*words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, errors="replace"
            )
        except FileNotFoundError:
            raise HoldfastError(f"{words[0]} is not installed here", fix="apt-get install openssh-client") from None
        try:
            assert child.stdin is not None and child.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(program(job))
                child.stdin.close()
            found = listen(child.stdout, progress)
            status = child.wait()
        finally:
            # Its own end follows: it writes to nobody, and ends what it has started.
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_PATIENCE_S)
        if found is None:
            said.seek(0)
            last = (said.read().strip().splitlines() or [f"it ended with status {status} and said nothing"])[-1]
            raise HoldfastError(f"{name} could not be measured: {last[:300]}", fix=f"can you log in yourself? {hint}")
        return found


def listen(lines: Any, progress: Progress) -> dict[str, Any] | None:
    """The program's result, or None where it ended without one; what it tells on the way is shown."""
    found: dict[str, Any] | None = None
    with contextlib.ExitStack() as phases:
        inner = contextlib.ExitStack()
        phases.push(inner)
        for line in lines:
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, KeyError, TypeError):
                continue  # a login shell's greeting
            if kind == "phase":
                inner.enter_context(progress.phase(str(event["name"])))
            elif kind == "done":
                inner.close()
            elif kind == "step":
                progress.step(int(event["n"]), int(event["of"]), str(event["label"]))
            elif kind == "note":
                progress.note(str(event["text"]))
            elif kind == "result":
                found = event["data"]
    return found
