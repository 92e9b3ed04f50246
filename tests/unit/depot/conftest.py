from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast import paths
from holdfast.depot import builders, download
from holdfast.depot.builders import Built

BODY = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Vendor:
    """A loopback server that misbehaves on demand, and remembers what it was asked."""

    url: str
    body: bytes = BODY
    cuts: int = 0
    """So many answers break off in the middle."""
    stalls: bool = False
    ranges: bool = True
    status: int = 200
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def sha(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.asked.append("HEAD")
            self.send_response(seen.status)
            self.end_headers()

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            seen.asked.append(f"GET {wanted}".strip())
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and seen.ranges else 0
            body = seen.body[start:]
            self.send_response(seen.status if seen.status != 200 else 206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(seen.body) - 1}/{len(seen.body)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if seen.cuts > 0 or seen.stalls:
                seen.cuts -= 1
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                if seen.stalls:
                    seen.release.wait(10)
                return
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Vendor(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    download._unreachable.clear()
    yield seen
    seen.release.set()
    server.shutdown()
    server.server_close()
    download._unreachable.clear()


LOCK = """\
# the head stays
artifacts:
  tool:
    version: "1.2"
    url: {url}/v{{version}}/tool
    file: tool/{{version}}/tool
    size: {size} # bytes
    sha256: {sha}  # of the release
    licence: MIT
    builder: tool

  other:
    version: "1.2"
    url: {url}/other
    file: other/other
    size: unverified
    sha256: unverified # nobody knows
    licence: MIT
    builder: other
"""


@dataclass
class Lab:
    """A checkout's locks and a cache of their own, with a builder that counts."""

    locks: Path
    cache: Path
    url: str
    builds: list[str] = field(default_factory=list)
    makes: bytes = b"built bytes"
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def lock(self) -> Path:
        return self.locks / "artifacts.yml"

    def pin(self, size: object = "unverified", sha: str = "unverified") -> None:
        self.lock.write_text(LOCK.format(url=self.url, size=size, sha=sha))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> Lab:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "LOCKS", tmp_path / "locks")
    made = Lab(tmp_path / "locks", tmp_path / "cache" / "holdfast", vendor.url)
    for name in ("tool", "other"):
        folder = made.locks / "go" / name
        folder.mkdir(parents=True)
        (folder / "go.mod").write_text("module x\n\ngo 1.26.4\n")
        (folder / "go.sum").write_text("a h1:=\n")
    made.pin()

    def build(pin, work, log, progress):  # type: ignore[no-untyped-def]
        made.builds.append(pin.name)
        if made.makes == b"":
            raise RuntimeError("the compiler failed")
        (work / pin.filename).write_bytes(made.makes)
        return Built(work / pin.filename, dict(made.parts))

    monkeypatch.setattr(builders, "find", lambda name: build)
    for name in ("tool", "other"):
        monkeypatch.setitem(builders.PROGRAMS, name, {"sh": "dash", "/proc/self/stat": "kernel"})
    return made
