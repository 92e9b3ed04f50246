"""hosts.yml as `init` reads and writes it: as a whole or not at all, and never over what somebody changed meanwhile."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import sys
from pathlib import Path

from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.settings.document import parse_mapping

HEAD = "# The machines. Every key: docs/settings.md\n"


def read(file: Path) -> str:
    """The text of ``file`` with its line ends as they are; empty where there is none. Raises SettingsError."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HoldfastError(f"{file} cannot be read: {error.strerror}", fix=f"make {file} readable") from None
    parse_mapping(raw, str(file))
    return raw.decode("utf-8")


def with_block(text: str, name: str, block: str) -> str:
    """``text`` with ``block`` in the place of the one that ``name`` has, or at its end; the rest stays as it is."""
    newline = "\r\n" if "\r\n" in text else "\n"
    block = block.replace("\n", newline)
    lines = text.splitlines(keepends=True)
    # A key in column 0, and what belongs to it: indented and empty lines.
    key = re.compile(rf"(['\"]?){re.escape(name)}\1[ \t]*:(\s|$)")
    start = next((number for number, line in enumerate(lines) if key.match(line)), None)
    if start is None:
        kept = text.rstrip() or HEAD.rstrip()
        return f"{kept}{newline}{block}"
    end = start + 1
    while end < len(lines) and (lines[end][0] in " \t" or not lines[end].strip()):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    return "".join(lines[:start]) + block + "".join(lines[end:])


def unsafe(file: Path, fix: str) -> HoldfastError:
    return HoldfastError(f"{file} is written in a way that cannot be edited safely", where=str(file), fix=fix)


def check(file: Path, old: str, new: str, name: str, block: object) -> None:
    """Raises HoldfastError unless ``new`` says ``block`` of ``name``, and of every other host what ``old`` does."""
    before, after = (parse_mapping(text.encode(), str(file)) for text in (old, new))
    if after.get(name) != block or {**before, name: None} != {**after, name: None}:
        raise unsafe(file, f"write the block of {name} by hand, as in hosts.example.yml")


def write(file: Path, old: str, new: str) -> None:
    """``new`` in place of ``old``, which must still be there. Raises HoldfastError."""
    # A link stays one.
    target = file.resolve()
    if read(file) != old:
        raise HoldfastError(
            f"{file} was changed by somebody else meanwhile", fix="run it again: it looks at the new one"
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        temporary.write_text(new, "utf-8", newline="")
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _unwritable(file, error.strerror or str(error)) from None


def writable(file: Path) -> None:
    """Raises HoldfastError where hosts.yml could not be written: said before the machine is looked at."""
    folder = file.resolve().parent
    if file.exists() and not file.is_file():
        raise _unwritable(file, "it is no ordinary file")
    if not folder.is_dir():
        raise _unwritable(file, f"there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise _unwritable(file, f"no file can be made in {folder}")


def diff(file: Path, old: str, new: str) -> list[str]:
    """The unified diff, line by line."""
    return list(
        difflib.unified_diff(old.splitlines(), new.splitlines(), f"{file} (there)", f"{file} (proposed)", lineterm="")
    )


def can_ask() -> bool:
    """Whether a person sits at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, progress: Shown) -> str:
    """What a person answers at the terminal, one line."""
    with progress.aside():
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip()


def yes(question: str, progress: Shown) -> bool:
    """Whether the answer is a yes; Enter is none."""
    return ask(f"{question} [y/N] ", progress).lower() in ("y", "yes")


def who() -> str:
    """The person at this computer."""
    import getpass

    return getpass.getuser()


def _unwritable(file: Path, why: str) -> HoldfastError:
    fix = (
        f"let HOLDFAST_HOSTS name a file in a folder that the user {who()} may write to, or make {file.parent} writable"
    )
    return HoldfastError(f"{file} cannot be written: {why}", where=str(file.parent), fix=fix)
