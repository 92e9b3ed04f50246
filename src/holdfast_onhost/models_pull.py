#!/usr/bin/python3
"""models_pull.py SETTINGS: the declared models land in the store, checked, each visible only once it is whole.

SETTINGS is JSON: {"store": PATH, "source": ADDRESS, "limit": BYTES_PER_SECOND,
"least": BYTES_PER_SECOND, "user_agent": TEXT, "adopt": [PATHS],
"models": [{"name": "MODEL:TAG", "manifest": "sha256:HEX"}, …]}; see models_manifest.Source for ADDRESS.  For each model:
manifest, then blobs, then the manifest's rename, which is what a server looks at.  What is there and right is not asked
for: a second run needs no network.  Progress: JSON lines on stdout, and the newest state in --status FILE.  Exit codes: 0,
1, 75 (try later).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

if __package__ in (None, ""):  # run by its path: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from holdfast_onhost import fetch_disk, fetch_part, fetch_progress, models_manifest
from holdfast_onhost.fetch import Manner, fetch
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_manifest import Source
from holdfast_onhost.models_status import Status
from holdfast_onhost.models_store import Blob, Name, Store, blobs_of

_ONCE = Manner(stall=10, tries=1)  # before the unit counts as started: a network that is away must not hold up a boot


@dataclass(frozen=True)
class Wanted:
    """A declared model and, once known, its manifest as the registry sent it."""

    text: str
    digest: str
    raw: bytes = b""

    @property
    def name(self) -> Name:
        return Name.parse(self.text)


def declared(settings: dict[str, Any]) -> list[Wanted]:
    """The models of `settings`, in their order."""
    return [Wanted(model["name"], model["manifest"]) for model in settings["models"]]


def known(model: Wanted, store: Store) -> bytes | None:
    """The manifest with the pinned digest, if it is on this machine: as a model's, or kept while that is fetched."""
    for raw in (store.manifest(model.name), store.kept_manifest(model.digest)):
        if raw is not None and models_manifest.digest(raw) == model.digest:
            return raw
    return None


def look_up(settings: dict[str, Any], store: Store, manner: Manner) -> list[Wanted]:
    """Every declared model with its manifest; what comes from the source is kept.  Raises FetchError for a moved one."""
    source = Source(settings["source"], settings["user_agent"])
    out = []
    for model in declared(settings):
        raw = known(model, store)
        if raw is None:
            raw = models_manifest.read(model.text, source, manner)
            got = models_manifest.digest(raw)
            if got != model.digest:
                raise FetchError(
                    f"{model.text}: {source.address} serves the manifest {got}, pinned is {model.digest}",
                    f"if the newer model is wanted: ./holdfast depot update {model.text}",
                )
            store.keep_manifest(got, raw)
        out.append(replace(model, raw=raw))
    return out


def missing(wanted: list[Wanted], store: Store, status: Status) -> dict[str, list[Blob]]:
    """Model -> the blobs that are not in the store, or not right there.  Reads what was never checked before."""
    found: dict[Blob, bool] = {}
    out = {}
    for model in wanted:
        blobs = blobs_of(model.text, model.raw)
        for blob in blobs:
            if blob not in found:
                found[blob] = store.good(blob, status.checked)
        out[model.text] = [blob for blob in blobs if not found[blob]]
    store.save_checked()
    return out


def pull(settings: dict[str, Any], status: Status, manner: Manner | None = None) -> None:
    """Brings the store to what `settings` declares.  Raises FetchError."""
    store = Store(settings["store"])
    source = Source(settings["source"], settings["user_agent"])
    manner = manner or Manner(limit=float(settings.get("limit") or 0), least=float(settings.get("least", Manner.least)))
    manner = replace(manner, headers=source.headers)
    with store.alone():
        status.checked(0)  # what a run before this one has left to be read is past
        wanted = look_up(settings, store, manner)
        needs = missing(wanted, store, status)
        due = {blob.hex: blob for blobs in needs.values() for blob in blobs}
        total = sum(blob.size for blob in due.values())
        status.begin(total)
        fetch_disk.require_room(total - store.kept(due.values()), store.path, "models")
        for model in wanted:
            for blob in needs[model.text]:
                if due.pop(blob.hex, None) is None:
                    continue  # models share their licence
                status.file(model.text)
                fetch(source.blob_url(model.name, blob), blob.size, blob.hex, store.blob_path(blob),
                      part=store.part_path(blob), report=status.report, manner=manner)  # fmt: skip
                store.note_checked(blob)
                status.file_done(blob.size)
            if store.manifest(model.name) != model.raw:
                store.place_manifest(model.name, model.raw)
            store.forget_manifest(model.digest)
            store.save_checked()
            status.line("model", name=model.text, manifest=model.digest)


@contextmanager
def told(status: Status, path: str, write: Callable[[str], object], code: list[int]) -> Iterator[None]:
    """Failures of the block go to `status` and `write`; `code` becomes the exit code.  `path`: the settings' file."""
    try:
        yield
    except FetchError as error:
        status.end("failed", error.message, error.fix)
        write(error.render() + "\n")
        code[0] = error.code
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = FetchError(f"{path}: {error!r}", "./holdfast up HOST writes it anew")
        status.end("failed", wrong.message, wrong.fix)
        write(wrong.render() + "\n")
        code[0] = 1


def main(arguments: list[str] | None = None, write: Callable[[str], object] = sys.stderr.write) -> int:
    parser = argparse.ArgumentParser(prog="models_pull.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", metavar="SETTINGS", help="JSON file, see the head of this program")
    parser.add_argument("--status", metavar="FILE", help="keep the newest state here")
    parser.add_argument(
        "--manifests", action="store_true", help="only look up what the models consist of, with one try"
    )
    given = parser.parse_args(arguments)
    os.umask(0o022)  # a store that servers of another user cannot read is an empty one to them
    status = Status(None if given.manifests else given.status, fetch_progress.line)
    code = [0]
    with told(status, given.settings, write, code):
        with open(given.settings, encoding="utf-8") as file:
            settings = json.load(file)
        if given.manifests:
            store = Store(settings["store"])
            with store.alone():
                look_up(settings, store, _ONCE)
            return 0
        pull(settings, status)
        status.end("done")
    return code[0]


if __name__ == "__main__":
    fetch_part.unwind_on_sigterm()
    sys.exit(main())
