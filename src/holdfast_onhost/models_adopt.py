#!/usr/bin/python3
"""models_adopt.py SETTINGS: blobs of declared models that other stores on this machine have need not be downloaded.

Runs before the puller, with nothing of its confinement, since a hard link cannot cross a bind mount; it uses no network.
A blob is recognised by its digest and hashed like every other.  It is linked where the file system allows and nobody but
root could write to it afterwards (a link shares owner and mode), else copied.  The other store is left as it is.
SETTINGS as for models_pull.py; "adopt" lists the stores.  Always ends with 0: what is not adopted is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

if __package__ in (None, ""):  # run by its path: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from holdfast_onhost import fetch_disk, fetch_part, fetch_progress, models_manifest
from holdfast_onhost.fetch import fetch
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_pull import declared, known
from holdfast_onhost.models_status import Status
from holdfast_onhost.models_store import Blob, Store, blobs_of


def adopt(settings: dict[str, Any], status: Status) -> None:
    """Takes into the store what it lacks and the others have.  Raises FetchError when the store itself cannot be used."""
    store = Store(settings["store"])
    others = [found for path in settings.get("adopt", ()) for found in stores(path) if not _same(found, store.path)]
    if not others:
        return
    with store.alone():
        needs = _needs(settings, store, others, status)
        copies: list[tuple[str, Blob, str]] = []
        for model, blobs in needs.items():
            for blob in blobs:
                path = _offered(blob, others)
                if path and not _linked(path, blob, store, status):
                    copies.append((model, blob, path))
        store.save_checked()
        total = sum(blob.size for _, blob, _ in copies)
        if not copies:
            return
        status.begin(total)
        fetch_disk.require_room(total - store.kept(blob for _, blob, _ in copies), store.path, "models to be copied")
        for model, blob, path in copies:
            status.file(model)
            with _damage_told(status, path):
                fetch("file://" + quote(path), blob.size, blob.hex, store.blob_path(blob),
                      part=store.part_path(blob), report=status.report)  # fmt: skip
                store.note_checked(blob)
                status.line("adopted", path=path, how="copied")
            status.file_done(blob.size)
            store.save_checked()


def stores(path: str) -> Iterator[str]:
    """The stores at `path`, which may be one, or the folder .ollama around it, or a home; ~USER is understood."""
    home = os.path.realpath(os.path.expanduser(path))
    for folder in (home, os.path.join(home, "models"), os.path.join(home, ".ollama", "models")):
        if os.path.isdir(os.path.join(folder, "blobs")) and os.path.isdir(os.path.join(folder, "manifests")):
            yield folder


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _needs(settings: dict[str, Any], store: Store, others: list[str], status: Status) -> dict[str, list[Blob]]:
    """Model -> the blobs that are not in our store yet, as far as the manifest is known or another store has it."""
    wanted = {model.digest: model for model in declared(settings)}
    strange = {digest for digest, model in wanted.items() if known(model, store) is None}
    for found in _manifests(others) if strange else ():
        digest = models_manifest.digest(found)
        if digest in strange:
            store.keep_manifest(digest, found)
    out = {}
    for model in wanted.values():
        if raw := known(model, store):
            out[model.text] = [blob for blob in blobs_of(model.text, raw) if not store.good(blob, status.checked)]
    return out


def _manifests(others: list[str]) -> Iterator[bytes]:
    for other in others:
        for folder, _, files in os.walk(os.path.join(other, "manifests")):
            for file in files:
                with contextlib.suppress(OSError), open(_opened(os.path.join(folder, file)), "rb") as manifest:
                    raw = manifest.read(models_manifest.MOST + 1)
                    if len(raw) <= models_manifest.MOST:
                        yield raw


def _opened(path: str) -> int:
    """A descriptor of the regular file at `path`; the owner of another store may have put anything there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(f"{path} is no regular file")


def _offered(blob: Blob, others: list[str]) -> str:
    """Where another store has a file of this name and size; empty for nowhere."""
    for other in others:
        path = os.path.join(other, "blobs", "sha256-" + blob.hex)
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_size == blob.size:
                return path
    return ""


def _linked(path: str, blob: Blob, store: Store, status: Status) -> bool:
    """Is it in our store now by a link?  Not where a link is impossible, or would leave the file in others' hands."""
    link = store.part_path(blob) + ".link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    try:
        os.link(path, link, follow_symlinks=False)
    except OSError:
        return False
    try:
        with open(_opened(link), "rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (0, 0, 0o644):
                return False
            got = fetch_disk.sha256_of(file, status.checked)
        if got != blob.hex:
            return False  # copying finds the same, and says so
        os.replace(link, store.blob_path(blob))
        fetch_disk.sync_folder(os.path.dirname(store.blob_path(blob)))
        store.note_checked(blob)
        status.line("adopted", path=path, how="linked")
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)


@contextlib.contextmanager
def _damage_told(status: Status, path: str) -> Iterator[None]:
    try:
        yield
    except FetchError as error:
        status.line("not adopted", path=path, reason=error.message)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="models_adopt.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", metavar="SETTINGS", help="JSON file, see the head of models_pull.py")
    parser.add_argument("--status", metavar="FILE", help="keep the newest state here")
    given = parser.parse_args(arguments)
    os.umask(0o022)
    status = Status(given.status, fetch_progress.line)
    try:
        with open(given.settings, encoding="utf-8") as file:
            adopt(json.load(file), status)
    except FetchError as error:
        status.line("not adopted", reason=error.message)
    except (OSError, ValueError, KeyError, TypeError) as error:
        status.line("not adopted", reason=repr(error))
    return 0


if __name__ == "__main__":
    fetch_part.unwind_on_sigterm()
    sys.exit(main())
