"""One entry of a YAML file changed in place: everything else, comments included, stays as a person wrote it.

A YAML library would write the whole file anew. Only block mappings indented by two are understood, as in locks/; whether an
edit came out right is seen by reading the file back (``replace``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from holdfast.errors import HoldfastError

STEP = 2


def read(file: Path) -> list[str]:
    """Its lines, without their ends."""
    return file.read_text("utf-8").removesuffix("\n").split("\n")


def entry(lines: Sequence[str], key: str, indent: int = 0, within: Iterable[int] | None = None) -> range:
    """Which lines stand under ``key``, itself indented by ``indent``, from the one after it to the last that is no comment.

    ``within``: only looked for in these lines. A range that starts at 0 where there is no such key.
    """
    begin = end = 0
    for number in range(len(lines)) if within is None else within:
        text = lines[number].strip()
        if not text or text.startswith("#"):
            continue
        deep = len(lines[number]) - len(lines[number].lstrip())
        if deep > indent:
            end = number + 1 if begin else 0
        elif begin:
            break
        elif deep == indent and re.match(rf"{re.escape(key)}:(\s|$)", text):
            begin = end = number + 1
    return range(begin, end)


def with_values(lines: Sequence[str], key: str, values: Mapping[str, str], indent: int = 0) -> list[str] | None:
    """``lines`` with these ``values`` right under ``key``; None where one of them has no line there yet."""
    out, left = list(lines), dict(values)
    for number in entry(lines, key, indent):
        found = re.fullmatch(rf"( {{{indent + STEP}}}([\w-]+):\s*)([^\s#]+)(.*)", lines[number])
        if found and found[2] in left:
            out[number] = found[1] + left.pop(found[2]) + found[4]
    return None if left else out


def with_block(lines: Sequence[str], key: str, name: str, block: Sequence[str]) -> list[str] | None:
    """``lines`` with ``block`` (the lines of ``name: …``) at the end of what stands under ``key``, in place of the block of that
    name; None where there is no ``key``."""
    own = entry(lines, key)
    if not own.start:
        return None
    old = entry(lines, name, STEP, own)
    gone = range(old.start - 1, old.stop) if old.start else range(0)
    kept = [lines[number] for number in own if number not in gone]
    return [*lines[: own.start], *kept, *(" " * STEP + line for line in block), *lines[own.stop :]]


def replace(file: Path, lines: Sequence[str], right: Callable[[Path], bool], error: HoldfastError) -> None:
    """Put ``lines`` in the file's place in one step, after ``right`` has read them back; else raise ``error``.

    Whatever happens, nothing is left beside the file.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text("\n".join(lines) + "\n", "utf-8")
        if not right(new):
            raise error
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
