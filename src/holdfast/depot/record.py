"""built.json: what lies in the local depot and what its bytes were when we put them there.

The record is beside the depot folder, never in it: a depot may be served by, or copied to, a machine that we need not
trust, so a hash is only ever taken from the git lock or from here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast import paths
from holdfast.errors import HoldfastError

BUILT = "built here"
RELEASE = "release"


@dataclass(frozen=True)
class Entry:
    """One artifact in the local depot. Sizes in bytes, hashes SHA-256 in hexadecimal."""

    name: str
    version: str
    origin: str
    inputs: str
    """Hash over everything that decides what the bytes are (pin, go.sum, recipe …): changed means "make it again"."""
    file: str
    size: int
    sha256: str
    members: dict[str, str] = field(default_factory=dict)
    """For an archive: path inside it -> hash, so that a running program can be compared with what was shipped."""
    also: dict[str, list[Any]] = field(default_factory=dict)
    """Other files of this artifact in the depot (an apt repository's): path -> [size, hash]."""
    parts: dict[str, str] = field(default_factory=dict)
    """Where a part was not pinned by hash but by a signature (a Debian package): name -> version that came."""
    stamps: dict[str, list[int]] = field(default_factory=dict)
    """Inode, size and mtime (ns) when a file was last hashed: unchanged means it need not be read again."""

    def files(self) -> dict[str, tuple[int, str]]:
        """Every file of this artifact in the depot: path -> (size, hash)."""
        return {self.file: (self.size, self.sha256)} | {p: (int(s), str(h)) for p, (s, h) in self.also.items()}


def root() -> Path:
    """The depot folder: static files only, what an HTTP server or a USB disk offers."""
    return paths.cache_dir() / "depot"


def record_file() -> Path:
    return paths.cache_dir() / "built.json"


def load() -> dict[str, Entry]:
    """The record; empty when there is none or it cannot be read (then everything is made again)."""
    try:
        data = json.loads(record_file().read_text())
        return {name: Entry(**entry) for name, entry in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def store(entries: Mapping[str, Entry]) -> None:
    """Replace the record in one step."""
    file = record_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(json.dumps({n: asdict(e) for n, e in sorted(entries.items())}, indent=1) + "\n")
    new.replace(file)


def digest(file: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, read in pieces."""
    with file.open("rb") as f:
        sha = hashlib.file_digest(f, "sha256").hexdigest()
        return f.tell(), sha


def stamp(file: Path) -> list[int]:
    s = file.stat()
    return [s.st_ino, s.st_size, s.st_mtime_ns]


def intact(entry: Entry, *, reread: bool = False) -> str:
    """Empty when every file of ``entry`` is as recorded, else what is wrong with the first one that is not.

    A file whose inode, size and mtime are those of the last hashing is not read again unless ``reread``.
    """
    for name, (size, sha) in entry.files().items():
        file = root() / name
        try:
            if not reread and entry.stamps.get(name) == stamp(file):
                continue
            got_size, got = digest(file)
        except OSError as e:
            return f"{file}: {e.strerror}"
        if (got_size, got) != (size, sha):
            return f"{file}: expected sha256:{sha} ({size} bytes), found sha256:{got} ({got_size} bytes)"
    return ""


def inputs(**what: Any) -> str:
    """A hash over everything that decides what an artifact's bytes are."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def path(name: str) -> Path:
    """The artifact's file in the local depot. Raises HoldfastError when it was never put there."""
    entry = load().get(name)
    if entry is None:
        raise HoldfastError(
            f"{name} is not in the local depot", where=str(root()), fix=f"./holdfast depot fetch {name}"
        )
    return root() / entry.file
