"""Ollama's store on disk: which file belongs to which name, and which blobs have been checked.

STORE/manifests/HOST/NAMESPACE/MODEL/TAG and STORE/blobs/sha256-HEX are Ollama's own layout (types/model/name.go).
STORE/.fetch is ours: unfinished files, the lock, the list of checked blobs.  Nothing temporary may lie below manifests/:
Ollama takes every file there for a tag.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from holdfast_onhost import fetch_disk
from holdfast_onhost.fetch_errors import FetchError

_NAME = re.compile(
    r"(?:(?P<host>[A-Za-z0-9][\w.-]*(?::\d+)?)/)??(?:(?P<space>[\w][\w.-]*)/)?(?P<model>[\w][\w.-]*):(?P<tag>[\w][\w.-]*)"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
PUBLIC_HOST = "registry.ollama.ai"
_FOLDERS = ("blobs", "manifests")
_ODD = "is models.registry the address of a registry of models? if so, pin another manifest of this model"


@dataclass(frozen=True)
class Name:
    """A model's full name; what is left out is as with Ollama: registry.ollama.ai and library."""

    host: str
    space: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name:
        """From MODEL:TAG, with or without what stands before it.  Raises FetchError."""
        found = _NAME.fullmatch(text)
        if not found:
            raise FetchError(f"{text!r} is no model name", "write it as MODEL:TAG, for example qwen2.5-coder:32b")
        return cls(found["host"] or PUBLIC_HOST, found["space"] or "library", found["model"], found["tag"])

    @property
    def path(self) -> str:
        """Below STORE/manifests."""
        return os.path.join(self.host, self.space, self.model, self.tag)


@dataclass(frozen=True)
class Blob:
    """A content-addressed file of a model; `size` in bytes."""

    hex: str
    size: int


def blobs_of(name: str, raw: bytes) -> list[Blob]:
    """The blobs that the manifest `raw` names, each once."""
    try:
        manifest = json.loads(raw)
        entries: list[dict[str, Any]] = [*manifest["layers"], manifest["config"]]
        pairs = [(_DIGEST.fullmatch(str(entry["digest"])), entry["size"]) for entry in entries]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchError(f"{name}: what the registry serves is no manifest ({error!r:.200})", _ODD) from error
    if not all(found and type(size) is int and size >= 0 for found, size in pairs):
        raise FetchError(f"{name}: its manifest names a blob without a SHA-256 digest or a size", _ODD)
    return list({found[1]: Blob(found[1], size) for found, size in pairs if found}.values())


def make(path: str) -> None:
    """An empty store at `path`, for who knows that it belongs there."""
    for folder in _FOLDERS:
        os.makedirs(os.path.join(path, folder), 0o755, exist_ok=True)


def _key(status: os.stat_result) -> list[int]:
    """By which a file that was hashed is recognised; holdfast.components.models.facts compares the same."""
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class Store:
    """The store at `path`.  It must be there: an empty one made here could hide a disk that is not mounted."""

    def __init__(self, path: str) -> None:
        for folder in ("", *_FOLDERS):
            if not os.path.isdir(os.path.join(path, folder)):
                raise FetchError(
                    f"the model store {path} {f'has no folder {folder}' if folder else 'does not exist'}",
                    "is its disk mounted? mount it, then ./holdfast up HOST",
                )
        self.path, self.work = path, os.path.join(path, ".fetch")
        with self._usable():
            os.makedirs(self.work, 0o755, exist_ok=True)
        self._checked: dict[str, list[int]] = {}
        with contextlib.suppress(OSError, ValueError, TypeError), open(self._list, encoding="ascii") as file:
            self._checked = dict(json.load(file))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other program changes the store meanwhile; waits for one that does.  Raises FetchError for what the disk says."""
        with self._usable(), open(os.path.join(self.work, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FetchError(
                f"the model store cannot be used: {error.filename or self.path}: {error.strerror or error}",
                f"is {self.path} on a sound disk with room on it, mounted writable? (findmnt -T {self.path}, df -h, dmesg)",
            ) from error

    @property
    def _list(self) -> str:
        return os.path.join(self.work, "checked.json")

    def blob_path(self, blob: Blob) -> str:
        return os.path.join(self.path, "blobs", "sha256-" + blob.hex)

    def part_path(self, blob: Blob) -> str:
        return os.path.join(self.work, blob.hex)

    def manifest(self, name: Name) -> bytes | None:
        """The manifest as it lies there."""
        try:
            with open(os.path.join(self.path, "manifests", name.path), "rb") as file:
                return file.read()
        except OSError:
            return None

    def kept_manifest(self, digest: str) -> bytes | None:
        """The manifest with this digest ("sha256:HEX") that was kept while its blobs are fetched."""
        with contextlib.suppress(OSError), open(self._kept(digest), "rb") as file:
            return file.read()
        return None

    def keep_manifest(self, digest: str, raw: bytes) -> None:
        """Until forget_manifest: a run that is cut off need not ask for it again."""
        with open(self._kept(digest) + ".new", "wb") as file:
            file.write(raw)
        os.replace(self._kept(digest) + ".new", self._kept(digest))

    def forget_manifest(self, digest: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._kept(digest))

    def _kept(self, digest: str) -> str:
        return os.path.join(self.work, "manifest-" + digest.replace(":", "-"))

    def place_manifest(self, name: Name, raw: bytes) -> None:
        """From here on every running server sees the model."""
        temporary = os.path.join(self.work, "manifest")
        with open(temporary, "wb") as file:
            file.write(raw)
        fetch_disk.place(temporary, os.path.join(self.path, "manifests", name.path))

    def good(self, blob: Blob, checked: Callable[[int], object] = lambda count: None) -> bool:
        """Is the blob there, with the right content?  Hashed once per inode, size and times of change.

        The second one, ctime, is nobody's to set: a wrong blob with the right one's mtime is found.
        """
        path = self.blob_path(blob)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                key = _key(status)
                if status.st_size != blob.size:
                    return False
                if self._checked.get(blob.hex) == key:
                    return True
                if fetch_disk.sha256_of(file, checked) != blob.hex:
                    return False
        except OSError:
            return False
        self._checked[blob.hex] = key
        return True

    def note_checked(self, blob: Blob) -> None:
        """The fetcher has just hashed it on its way in."""
        self._checked[blob.hex] = _key(os.stat(self.blob_path(blob)))

    def forget_others(self, hexes: set[str]) -> None:
        """Only the checks of these blobs are remembered."""
        self._checked = {hex: key for hex, key in self._checked.items() if hex in hexes}
        self.save_checked()

    def save_checked(self) -> None:
        """What was hashed so far is known to the next run."""
        with open(self._list + ".new", "w", encoding="ascii") as file:
            json.dump(self._checked, file)
        os.replace(self._list + ".new", self._list)

    def kept(self, blobs: Iterable[Blob]) -> int:
        """Bytes of unfinished files that are used again."""
        total = 0
        for blob in blobs:
            with contextlib.suppress(OSError):
                total += min(blob.size, os.path.getsize(self.part_path(blob)))
        return total
