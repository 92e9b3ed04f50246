"""A registry that lies about a model, and a store that is not what it should be: told, and nothing half done."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.paths import ROOT
from holdfast_onhost import fetch_disk, models_manifest, models_pull, models_store
from holdfast_onhost.fetch_errors import FetchError, Unreachable
from holdfast_onhost.models_manifest import Source
from holdfast_onhost.models_status import Status

from .conftest import QUICK
from .hostile import Script, answer, answering
from .models_site import Site

PROGRAM = ROOT / "src" / "holdfast_onhost" / "models_pull.py"
EMPTY = {"digest": "sha256:" + hashlib.sha256().hexdigest(), "size": 0}


def manifest(*layers: Any, **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": EMPTY, "layers": list(layers), **more}).encode()


def entry(digest: Any, size: Any = 1) -> dict[str, Any]:
    return {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": size}


HEX = "ab" * 32
NONSENSE = {
    "a page": b"<html>Please log in</html>",
    "nothing": b"",
    "an image index": json.dumps({"schemaVersion": 2, "manifests": [entry(f"sha256:{HEX}")]}).encode(),
    "a path": manifest(entry("sha256:../../../../etc/passwd")),
    "a path that is long enough": manifest(entry("sha256:" + "../" * 21 + "x")),
    "capitals": manifest(entry("sha256:" + HEX.upper())),
    "a line's end": manifest(entry(f"sha256:{HEX}\n")),
    "another algorithm": manifest(entry("sha512:" + HEX * 2)),
    "no algorithm": manifest(entry(HEX)),
    "a negative size": manifest(entry(f"sha256:{HEX}", -1)),
    "a size in words": manifest(entry(f"sha256:{HEX}", "1")),
    "half a byte": manifest(entry(f"sha256:{HEX}", 0.5)),
    "an infinite size": manifest(entry(f"sha256:{HEX}", 1)).replace(b'"size": 1}', b'"size": 1e999}'),
    "a true size": manifest(entry(f"sha256:{HEX}", True)),
    "no layers": b'{"config": {}, "layers": null}',
    "a list": b"[]",
    "too deep": b"[" * 200_000,
    "no text": b"\xff\xfe\x00",
}


def serving_manifest(raw: bytes, **headers: object) -> Script:
    return lambda n, path, at: answer(body=raw, **headers) if "/manifests/" in path else answer("404 N")


@pytest.mark.parametrize("what", NONSENSE)
def test_what_is_no_manifest_is_told_and_never_pinned(what: str, site: Site) -> None:
    raw = NONSENSE[what]
    for digest in (models_manifest.digest(raw), "sha256:" + HEX):  # as somebody pinned it, and as a portal is met
        with answering(serving_manifest(raw)) as server:
            site.settings |= {"source": server.url, "models": [{"name": "odd:one", "manifest": digest}]}
            with pytest.raises(FetchError, match="odd:one") as caught:
                site.pull()
            assert "pinned is" not in caught.value.message and "depot update" not in caught.value.fix
            assert all("/manifests/" in path for path, _ in server.asked)
    assert site.manifests() == [] and list((site.store / "blobs").iterdir()) == []
    assert not list((site.store / ".fetch").glob("manifest*"))


ODD_ANSWERS: dict[str, tuple[Script, str, type[FetchError]]] = {
    "cut off": (serving_manifest(manifest()[:-5], Content_Length=None), "of a manifest (4 tries)", Unreachable),
    "shorter than said": (serving_manifest(manifest(), Content_Length=999), "(4 tries)", Unreachable),
    "packed": (serving_manifest(b"\x1f\x8b", Content_Encoding="gzip"), "sent packed (gzip)", FetchError),
    "huge": (serving_manifest(b" " * (5 << 20)), "that is no manifest", FetchError),
    "moved away": (lambda n, path, at: answer("302 F", Location="file:///etc/passwd"), "redirect to file:", FetchError),
    "locked": (lambda n, path, at: answer("401 U"), "HTTP 401", FetchError),
}


@pytest.mark.parametrize("how", ODD_ANSWERS)
def test_manifests_that_do_not_come_as_they_should(how: str, site: Site) -> None:
    script, words, kind = ODD_ANSWERS[how]
    with answering(script) as server:
        site.settings |= {"source": server.url, "models": [{"name": "odd:one", "manifest": "sha256:" + HEX}]}
        with pytest.raises(FetchError) as caught:
            site.pull()
    assert words in caught.value.message and type(caught.value) is kind
    assert site.manifests() == []


def test_empty_and_repeated_blobs_and_kinds_that_nobody_knows(site: Site) -> None:
    """What Ollama makes of a kind is its own affair; here a blob is bytes with a digest."""
    data = b"some bytes"
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    twice = {**entry(digest, len(data)), "mediaType": "application/vnd.nobody.knows"}
    raw = manifest(twice, EMPTY, twice)

    def script(n: int, path: str, at: int) -> bytes:
        return answer(body=raw if "/manifests/" in path else data)

    with answering(script) as server:
        pin = models_manifest.digest(raw)
        site.settings |= {"source": server.url, "models": [{"name": "odd:one", "manifest": pin}]}
        site.pull()
        assert len(server.asked) == 2, "the manifest and one blob"
        assert models_manifest.read("odd:one", Source(server.url, "x"), QUICK) == raw
    assert sorted(path.stat().st_size for path in (site.store / "blobs").iterdir()) == [0, len(data)]


def _pull_in_child(settings: dict[str, Any]) -> None:
    models_pull.pull(settings, Status(None, lambda event, **values: None), QUICK)


def test_two_pullers_at_once_fetch_everything_once(site: Site) -> None:
    site.server.behaviour.rate = 20_000_000
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_pull_in_child, args=(site.settings,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    asked = [line.split()[1] for line in site.server.behaviour.requests]
    assert len(asked) == len(set(asked)) and site.same_as_served()


def replaced(blob: Path) -> None:
    """Another file, renamed over it."""
    new = blob.with_name("new")
    new.write_bytes(b"?" + blob.read_bytes()[1:])
    new.rename(blob)


def overwritten(blob: Path) -> None:
    """The same inode."""
    with blob.open("r+b") as file:
        file.write(b"?")


@pytest.mark.parametrize("wrong", [replaced, overwritten])
def test_wrong_blob_of_the_same_size_and_time_is_found(wrong: Callable[[Path], None], site: Site) -> None:
    site.pull()
    blob = max((site.store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    right, before = blob.read_bytes(), blob.stat()
    wrong(blob)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = blob.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert (after.st_ino == before.st_ino) == (wrong is overwritten)
    site.pull()
    assert blob.read_bytes() == right


@pytest.mark.parametrize("text", ["[1, 2]", "{", "", f'{{"{HEX}": 5}}', "null"])
def test_list_of_what_was_checked_may_be_anything(text: str, site: Site) -> None:
    site.pull()
    right = (site.store / ".fetch" / "checked.json").read_text()
    (site.store / ".fetch" / "checked.json").write_text(text)
    asked = len(site.server.behaviour.requests)
    site.pull()
    assert len(site.server.behaviour.requests) == asked, "read again, not fetched again"
    assert json.loads((site.store / ".fetch" / "checked.json").read_text()).items() >= json.loads(right).items()


@pytest.mark.parametrize("call", ["makedirs", "replace", "open"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EIO])
def test_disk_that_refuses_is_named_not_the_settings(
    call: str, number: int, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any, *_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    def opened(path: Any, mode: str = "r", **more: Any) -> Any:
        return refuse(path) if "w" in mode else open(path, mode, **more)

    monkeypatch.setattr(
        *((models_store, "open", opened) if call == "open" else (models_store.os, call, refuse)), raising=False
    )
    settings = tmp_path / "models.json"
    settings.write_text(json.dumps(site.settings))
    said: list[str] = []
    assert models_pull.main([str(settings)], said.append) == 1
    assert os.strerror(number) in said[0] and str(site.store) in said[0] and str(settings) not in said[0]
    assert f"Fix: is {site.store} on a sound disk" in said[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")
@pytest.mark.parametrize("flag", ["rw", "ro"])
def test_store_on_a_disk_of_its_own(flag: str, site: Site, tmp_path: Path) -> None:
    """A file system of its own in a mount namespace of its own; read-only it is refused by name."""
    settings = tmp_path / "models.json"
    settings.write_text(json.dumps(site.settings))
    script = (
        f"mount -t tmpfs none {site.store} && mkdir {site.store}/blobs {site.store}/manifests {site.store}/.fetch && "
        f"mount -o remount,{flag} {site.store} && {sys.executable} -I -S {PROGRAM} {settings}; echo rc $?; ls {site.store}/blobs"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    rc, *blobs = done.stdout.partition("rc ")[2].split()
    if flag == "rw":
        assert rc == "0" and sorted(blobs) == sorted(path.name for path in (site.served / "blobs").iterdir()), (
            done.stderr
        )
    else:
        assert (rc, blobs) == ("1", []) and "Read-only file system" in done.stderr and str(site.store) in done.stderr


def test_store_behind_a_link_and_one_that_lost_a_folder(site: Site, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(site.store)
    site.settings["store"] = str(tmp_path / "link")
    site.pull()
    assert site.same_as_served()
    shutil.rmtree(site.store / "blobs")
    with pytest.raises(FetchError, match="has no folder blobs"):
        site.pull()
    assert not (site.store / "blobs").exists()
    site.store.rename(tmp_path / "away")
    with pytest.raises(FetchError, match="does not exist"):
        site.pull()


def test_state_that_cannot_be_told_ends_no_download(site: Site, tmp_path: Path) -> None:
    site.status_file = tmp_path / "file" / "status.json"
    (tmp_path / "file").write_text("in the way")
    site.pull()
    assert site.same_as_served()


def test_state_says_why_nothing_comes_and_what_is_read(site: Site) -> None:
    seen: list[dict[str, Any]] = []

    class Kept(Status):
        def _write(self) -> None:
            super()._write()
            seen.append(dict(self._values))

    def run() -> None:
        del seen[:]
        models_pull.pull(site.settings, Kept(str(site.status_file), lambda event, **values: None), QUICK)

    site.server.behaviour.blob_statuses = [503]
    run()
    refused = [values["waiting"] for values in seen if values.get("waiting")]
    assert refused == ["HTTP 503 refused by the test"] and not seen[-1]["waiting"]
    assert seen[0]["state"] == "running" and seen[0]["total"] == 0, "said before anything is asked or read"
    assert seen[-1]["checked"] == 0
    (site.store / ".fetch" / "checked.json").unlink()
    run()
    assert seen[-1]["checked"] == sum(path.stat().st_size for path in (site.store / "blobs").iterdir())


def test_kept_part_is_no_obstacle_to_the_room_that_is_needed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed is what is missing: the rest is there already."""
    blobs = sorted((site.served / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    big, total = blobs[-1], sum(path.stat().st_size for path in blobs)
    (site.store / ".fetch").mkdir()
    part = site.store / ".fetch" / big.name.removeprefix("sha256-")
    part.write_bytes(big.read_bytes()[:-1000])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    Path(f"{part}.json").write_text(json.dumps({"boot": boot, "synced": 0}))
    needed = total - big.stat().st_size + 1000
    monkeypatch.setattr(fetch_disk, "free_bytes", lambda folder: needed - 1)
    with pytest.raises(FetchError, match=f"models: {needed} bytes are needed in {site.store}, {needed - 1} are free"):
        site.pull()
    monkeypatch.setattr(fetch_disk, "free_bytes", lambda folder: needed)
    site.pull()
    assert site.same_as_served()
