"""Directories and files of one component: one fact, one command, every file replaced atomically."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.events import emit
from holdfast.operations.remote import PythonFact, program, python_command


@dataclass(frozen=True)
class Directory:
    """A directory; ``mode`` in octal digits as a string."""

    path: str
    mode: str = "755"
    user: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class File:
    """A regular file with exactly this content. The content of a ``secret`` file is in no plan and no diff."""

    path: str
    content: str | bytes
    mode: str = "644"
    user: str = "root"
    group: str = "root"
    secret: bool = False

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: str
    target: str


@dataclass(frozen=True)
class Absent:
    """Nothing at this path (a file or link is removed; a directory only when it is empty)."""

    path: str


Entry = Directory | File | Link | Absent


def read_paths(paths: list[str], contents: list[str]) -> Any:
    """Runs on the host: what lies at each of ``paths``; the text too for those in ``contents`` (up to 64 KiB)."""
    import base64
    import grp
    import hashlib
    import os
    import pwd
    import stat

    def owner(table: Any, number: int) -> str:
        try:
            return str(table(number)[0])
        except KeyError:
            return str(number)

    out = {}
    for path in paths:
        try:
            st = os.lstat(path)
        except OSError:
            out[path] = {"kind": "absent"}
            continue
        kind = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(
            stat.S_IFMT(st.st_mode), "other"
        )
        entry = {
            "kind": kind, "mode": format(stat.S_IMODE(st.st_mode), "o"),
            "user": owner(pwd.getpwuid, st.st_uid), "group": owner(grp.getgrgid, st.st_gid),
        }  # fmt: skip
        if kind == "file":
            with open(path, "rb") as f:
                data = f.read()
            entry["sha256"] = hashlib.sha256(data).hexdigest()
            if path in contents and len(data) <= 65536:
                entry["content"] = base64.b64encode(data).decode()
        if kind == "link":
            entry["target"] = os.readlink(path)
        out[path] = entry
    return out


class Paths(PythonFact):
    """What lies at some paths: ``{path: {kind, mode, user, group, sha256|target}}``."""

    reader = staticmethod(read_paths)


def write_entries(entries: list[dict[str, Any]]) -> Any:
    """Runs on the host: makes every entry so, in order; a file appears whole or not at all."""
    import base64
    import os
    import shutil
    import stat

    def put(path: str, make: Any) -> None:
        new = os.path.join(os.path.dirname(path), ".holdfast-new-" + os.path.basename(path))
        if os.path.lexists(new):
            os.unlink(new)
        make(new)
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        os.replace(new, path)

    def write(new: str, e: dict[str, Any]) -> None:
        # 0600 from the first byte: the file is nobody else's before owner and mode are set.
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(base64.b64decode(e["content"]))
            f.flush()
            os.fsync(fd)
        shutil.chown(new, e["user"], e["group"])
        os.chmod(new, int(e["mode"], 8))

    for e in entries:
        path = e["path"]
        if e["kind"] == "absent":
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            elif os.path.lexists(path):
                os.unlink(path)
            continue
        if e["kind"] == "directory":
            if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
            os.makedirs(path, exist_ok=True)
            shutil.chown(path, e["user"], e["group"])
            os.chmod(path, int(e["mode"], 8))
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if e["kind"] == "file" and os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as f:
                same = f.read() == base64.b64decode(e["content"])
            if same:
                # Only owner or mode is wrong. A file written anew would be one that a running server has not read yet.
                shutil.chown(path, e["user"], e["group"])
                os.chmod(path, int(e["mode"], 8))
                continue
        if e["kind"] == "link":
            put(path, lambda new, target=e["target"]: os.symlink(target, new))
        else:
            put(path, lambda new, entry=e: write(new, entry))
    return len(entries)


def wanted(entry: Entry) -> dict[str, Any]:
    """What read_paths says of an entry that is as it should be."""
    if isinstance(entry, Absent):
        return {"kind": "absent"}
    if isinstance(entry, Link):
        return {"kind": "link", "target": entry.target}
    mode = format(int(entry.mode, 8), "o")
    want: dict[str, Any] = {"mode": mode, "user": entry.user, "group": entry.group}
    if isinstance(entry, Directory):
        return {"kind": "directory", **want}
    return {"kind": "file", **want, "sha256": hashlib.sha256(entry.data).hexdigest()}


def payload(entry: Entry) -> dict[str, Any]:
    out: dict[str, Any] = {"path": entry.path, "kind": type(entry).__name__.lower()}
    for key, value in asdict(entry).items():
        if key not in ("content", "secret"):
            out[key] = value
    if isinstance(entry, File):
        out["content"] = base64.b64encode(entry.data).decode()
    return out


def writing(entries: Sequence[Entry]) -> StringCommand:
    """The command that makes ``entries`` so."""
    return python_command(program(write_entries, entries=[payload(e) for e in entries]))


def differing(entries: Sequence[Entry], found: dict[str, Any] | None) -> list[Entry]:
    """The entries that are not as they should be. ``found`` None: nothing is there yet."""
    there = found or {}

    def same(entry: Entry) -> bool:
        have, want = there.get(entry.path, {"kind": "absent"}), wanted(entry)
        return all(have.get(k) == v for k, v in want.items())

    return [e for e in entries if not same(e)]


@operation()
def place(entries: Sequence[Entry]) -> Iterator[StringCommand]:
    """Make directories, files and links exactly so. Content and modes travel by stdin, never in an argv."""
    show = os.environ.get("HOLDFAST_DIFF") == "1"
    texts = [e.path for e in entries if isinstance(e, File) and not e.secret] if show else []
    found = Paths.read(host, paths=[e.path for e in entries], contents=texts)
    changes = differing(entries, found)
    if not changes:
        host.noop(f"{len(entries)} paths are as they should be")
        return
    for entry in changes:
        _show(entry, (found or {}).get(entry.path, {"kind": "absent"}), show)
    yield writing(changes)


def _show(entry: Entry, have: dict[str, Any], show: bool) -> None:
    """Tell a plan what would change; a secret's content stays out of it."""
    before = after = None
    if show and isinstance(entry, File) and not entry.secret:
        before = base64.b64decode(have.get("content", "")).decode("utf-8", "replace")
        after = entry.data.decode("utf-8", "replace")
    hidden = isinstance(entry, File) and entry.secret
    want = wanted(entry)
    attributes = {k: [have.get(k), v] for k, v in want.items() if k not in ("sha256",) and have.get(k) != v}
    emit("diff", host=host.name, path=entry.path, secret=hidden, before=before, after=after, attributes=attributes)
