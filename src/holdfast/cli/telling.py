"""What is told at the end: the outcome on stdout, or what went wrong on stderr, each also where it cannot be written."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shlex
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast.paths import cache_dir, state_dir

ROOM = "df -h says which disk is full; make room there"


def tell(outcome: Any, args: argparse.Namespace) -> int:
    """Print what a verb found; its exit code."""
    with printing():
        if args.json:
            sys.stdout.write(json.dumps(outcome.data) + "\n")
        else:
            from rich.console import Console

            from holdfast.cli.show import shown
            from holdfast.cli.table import Columns

            # Soft wrapping: a path or an address is to be copied whole. No markup, and no emoji: ":ab:" is part of one.
            console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
            for line in outcome.lines:
                if not console.is_terminal and isinstance(line, Columns):
                    line.box = None  # columns alone: no drawing where nobody looks at a screen
                console.print(shown(line) if isinstance(line, str) else line)
        sys.stdout.flush()
    return int(outcome.code)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """What is written to stdout meanwhile either arrives there, or that it could not is an error with a Fix."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        why = f"what was found could not be written: {error.strerror or error}"
        fix = "let it go to a terminal, or to a file where there is room"
        raise HoldfastError(why, where="standard output", fix=fix) from None


def discard(stream: Any) -> None:
    """What ``stream`` still holds goes nowhere: Python would write it once more at its end, and complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def failed(error: HoldfastError, as_json: bool) -> int:
    """Say what went wrong: to a person on stderr, with --json to a program on stdout as well. Never raises."""
    said = [(sys.stderr, error.render())]
    if as_json:
        said.append((sys.stdout, json.dumps({"error": error.data()})))
    for stream, text in said:
        try:
            stream.write(text + "\n")
            stream.flush()
        except OSError:
            # Nobody can be told there; the exit code says it.
            discard(stream)
    return error.code


def typed(error: HoldfastError, words: list[str]) -> HoldfastError:
    """``error``; where a host's name was nearly right, its Fix is this very command with the right one."""
    near, name = getattr(error, "near", ""), getattr(error, "name", "")
    if near and name in words:
        error.fix = "./holdfast " + shlex.join(near if word == name else word for word in words)
    return error


def disk(error: OSError) -> HoldfastError | None:
    """A full disk, or a file of this computer that may not be used; None for every other OSError."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        # Writing to a file that is open does not say which one.
        return HoldfastError(f"{path or 'a file'} cannot be written: {error.strerror}", where="this computer", fix=ROOM)
    if not path or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return None
    fix = f"make {path} usable for this user"
    for variable, folder in (("XDG_STATE_HOME", state_dir()), ("XDG_CACHE_HOME", cache_dir())):
        # What is made first may be a folder above ours.
        if Path(path).is_relative_to(folder) or folder.is_relative_to(path):
            fix = f"let {variable} name a folder that you may write to (now {folder.parent})"
            break
    return HoldfastError(f"{path} cannot be used: {error.strerror}", where="this computer", fix=fix)


def unexpected(error: Exception, words: list[str]) -> HoldfastError:
    """A fault of ours (or a full disk): one line here, the traceback in a file."""
    text = "".join(traceback.format_exception(error))
    log = state_dir() / "logs" / "fault.log"
    where = f"log: {log}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"holdfast {__version__} {' '.join(words[:1])}\n{text}")
    except OSError as full:
        where = f"(and the log {log} cannot be written: {full.strerror})"
    last = " ".join(str(error).split())[:300]
    fix = f"read {log}; if it is a fault of Holdfast, please report it with that file"
    return HoldfastError(f"unexpected: {type(error).__name__}: {last}", where=where, fix=fix)
