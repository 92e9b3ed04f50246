"""The command line. A verb is one module: what it is for, its arguments, what it does."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 failed, 2 wrong usage or settings, 3 changes pending, 130 Ctrl-C."""
    from holdfast.cli.main import run

    return run(argv)
