"""`depot lock`: the Python locks made anew from what is asked for, with hashes and without addresses."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.paths import LOCKS, ROOT
from holdfast.proc import run
from holdfast.uv import find_uv

# Name -> what `uv pip compile` is told besides. Wheels only, and for the oldest Python and glibc that the machines have:
# nothing is ever compiled on a workstation.
_MACHINE = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
LOCKED: dict[str, list[str]] = {
    "holdfast": ["pyproject.toml", "--extra", "dev", "--python-version", "3.11", "--universal"],
    "open-webui": ["locks/python/open-webui.in", *_MACHINE, "--excludes", "locks/python/open-webui.excludes"],
    "aider": ["locks/python/aider.in", *_MACHINE],
    "uv": ["locks/python/uv.in", *_MACHINE],
}


def lock(names: list[str], *, upgrade: bool) -> list[Path]:
    """Make the locks of ``names`` (empty: all) anew; without ``upgrade`` only what no longer fits moves."""
    unknown = [n for n in names if n not in LOCKED]
    if unknown:
        raise HoldfastError(
            f"no lock is called {unknown[0]!r}", allowed=", ".join(LOCKED), fix="name one of these", code=2
        )
    made = []
    for name in names or list(LOCKED):
        target = LOCKS / "python" / f"{name}.txt"
        command = "./holdfast depot lock"
        run(
            [
                find_uv(), "pip", "compile", "-q", *LOCKED[name], "--generate-hashes", "--no-annotate",
                "--custom-compile-command", command, *(["--upgrade"] if upgrade else []), "-o", target,
            ],
            cwd=ROOT,
            fix="correct the requirement that uv names",
        )  # fmt: skip
        made.append(target)
    return made
