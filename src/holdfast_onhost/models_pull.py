#!/usr/bin/python3
"""models_pull.py SETTINGS: the declared models land in the store, checked, each visible only once it is whole.

SETTINGS is JSON: {"store": PATH, "registry": URL, "limit": BYTES_PER_SECOND, "user_agent": TEXT,
"models": [{"name": "MODEL:TAG", "manifest": "sha256:HEX"}, …]}.  For each model: manifest, then blobs, then the manifest's
rename, which is what a server looks at.  What is there and right is not asked for: a second run needs no network.
Progress: JSON lines on stdout, and the newest state in --status FILE.  Exit codes: 0, 1, 75 (try later).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

if __package__ in (None, ""):  # run by its path: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from holdfast_onhost import fetch_disk, fetch_http, fetch_progress
from holdfast_onhost.fetch import Manner, fetch
from holdfast_onhost.fetch_errors import FetchError, Unreachable
from holdfast_onhost.models_status import Status
from holdfast_onhost.models_store import Blob, Name, Store, blobs_of

_MANIFEST_MOST = 4 << 20  # bytes; Ollama's own are a thousand
_NO_REGISTRY = "is models.registry the address of a registry of models, and does it let this machine in?"
_ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Wanted:
    """A declared model and, once known, its manifest as the registry sent it."""

    text: str
    name: Name
    digest: str
    raw: bytes = b""

    @property
    def base(self) -> str:
        return f"/v2/{self.name.space}/{self.name.model}"


def pull(settings: dict[str, Any], status: Status, manner: Manner | None = None) -> None:
    """Brings the store to what `settings` declares.  Raises FetchError."""
    store = Store(settings["store"])
    manner = manner or Manner(limit=float(settings.get("limit") or 0))
    manner = Manner(manner.stall, manner.tries, manner.pause, manner.limit, {"User-Agent": settings["user_agent"]})
    with open(os.path.join(store.work, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = [_known(model, store, settings["registry"], manner) for model in settings["models"]]
        needs = {model.text: [b for b in blobs_of(model.text, model.raw) if not store.good(b)] for model in wanted}
        missing = {blob.hex: blob for blobs in needs.values() for blob in blobs}
        kept = store.kept(missing.values())
        total = sum(blob.size for blob in missing.values())
        status.begin(total)
        fetch_disk.require_room(total - kept, store.path, "models")
        for model in wanted:
            for blob in needs[model.text]:
                if missing.pop(blob.hex, None) is None:
                    continue  # models share their licence
                _blob(blob, model, store, settings["registry"], status, manner)
            if store.manifest(model.name) != model.raw:
                store.place_manifest(model.name, model.raw)
            store.save_checked()
            status.line("model", name=model.text, manifest=model.digest)


def _blob(blob: Blob, model: Wanted, store: Store, registry: str, status: Status, manner: Manner) -> None:
    url = f"{registry}{model.base}/blobs/sha256:{blob.hex}"
    status.file(model.text)
    fetch(url, blob.size, blob.hex, store.blob_path(blob), part=store.part_path(blob), report=status.report, manner=manner)
    store.note_checked(blob)
    status.file_done(blob.size)


def _known(model: dict[str, str], store: Store, registry: str, manner: Manner) -> Wanted:
    """The manifest with the pinned digest: the one in the store, or the registry's."""
    wanted = Wanted(model["name"], Name.parse(model["name"]), model["manifest"])
    raw = store.manifest(wanted.name)
    if raw is None or _digest(raw) != wanted.digest:
        raw = _manifest(wanted, registry, manner)
    got = _digest(raw)
    if got != wanted.digest:
        raise FetchError(
            f"{wanted.text}: {registry} serves the manifest {got}, pinned is {wanted.digest}",
            f"if the newer model is wanted: ./holdfast depot update {wanted.text}",
        )
    return Wanted(wanted.text, wanted.name, wanted.digest, raw)


def _digest(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _manifest(model: Wanted, registry: str, manner: Manner) -> bytes:
    url = f"{registry}{model.base}/manifests/{model.name.tag}"
    headers = {**manner.headers, "Accept": _ACCEPT}
    failures = 0
    while True:
        try:
            answer = fetch_http.get(url, headers=headers, timeout=manner.stall)
            try:
                return _body(answer, url, model)
            finally:
                answer.close()
        except (OSError, http.client.HTTPException) as error:
            failures += 1
            if failures >= manner.tries:
                raise Unreachable(
                    f"{url}: {str(error) or type(error).__name__} ({failures} tries)",
                    "check this machine's network and models.registry, then run the same again",
                ) from error
            time.sleep(min(30.0, manner.pause * 2 ** (failures - 1)))


def _body(answer: fetch_http.Answer, url: str, model: Wanted) -> bytes:
    if answer.status == 200:
        parts = []
        size = 0
        while data := answer.read(1 << 16):
            parts.append(data)
            size += len(data)
            if size > _MANIFEST_MOST:
                raise FetchError(f"{url}: more than {_MANIFEST_MOST} bytes; that is no manifest", _NO_REGISTRY)
        if answer.total is not None and size != answer.total:
            raise OSError(f"the connection ended after {size} of {answer.total} bytes")
        return b"".join(parts)
    if answer.status == 404:
        raise FetchError(f"{model.text}: {url} does not exist (HTTP 404)", "check the model's name and tag")
    if answer.status == 412:
        # ollama/ollama server/images.go: the registry refuses a client that is too old for the model.
        raise FetchError(
            f"{model.text}: the registry wants a newer Ollama for this model (HTTP 412 {answer.excerpt()})",
            "move the pin of ollama: ./holdfast depot update ollama",
        )
    if answer.status == 429 or answer.status >= 500:
        raise OSError(f"HTTP {answer.status} {answer.excerpt()}".strip())
    raise FetchError(f"{url}: HTTP {answer.status} {answer.excerpt()}".strip(), _NO_REGISTRY)


def main(arguments: list[str] | None = None, write: Callable[[str], object] = sys.stderr.write) -> int:
    parser = argparse.ArgumentParser(prog="models_pull.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", metavar="SETTINGS", help="JSON file, see the head of this program")
    parser.add_argument("--status", metavar="FILE", help="keep the newest state here")
    given = parser.parse_args(arguments)
    os.umask(0o022)  # a store that servers of another user cannot read is an empty one to them
    status = Status(given.status, fetch_progress.line)
    try:
        with open(given.settings, encoding="utf-8") as file:
            settings = json.load(file)
        pull(settings, status)
    except FetchError as error:
        status.end("failed", error.message, error.fix)
        write(error.render() + "\n")
        return error.code
    except (OSError, ValueError, KeyError) as error:
        wrong = FetchError(f"{given.settings}: {error!r}", "./holdfast up HOST writes it anew")
        status.end("failed", wrong.message, wrong.fix)
        write(wrong.render() + "\n")
        return 1
    status.end("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
