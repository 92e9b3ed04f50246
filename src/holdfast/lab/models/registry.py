"""A pull-only model registry over HTTP: `python -m holdfast.lab.models.registry --listen HOST:PORT --models DIR`.

GET and HEAD /v2/NAMESPACE/MODEL/manifests/TAG and /v2/NAMESPACE/MODEL/blobs/sha256:HEX, from a folder made by
`holdfast.lab.models.make`.  A real `ollama pull` wants a blob answered with a Location header: either 200 with one, or
307 to a host of another name (ollama/ollama#15512); hence the modes.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from holdfast.lab.models.layout import blob_path

_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_BIG = 65536  # bytes; faults hit blobs of at least this size (the models, not their descriptions)
_STEP = 0.05  # seconds between two writes under a rate limit


@dataclass
class Behaviour:
    """How the registry answers.  Everything but `mode` is a fault that a test asks for."""

    mode: str = "location"  # or redirect (to localhost and the own port), plain (no Location), norange (all of it, always)
    rate: int = 0  # bytes per second and connection; 0: as fast as it goes
    corrupt: bool = False  # the last byte of a big blob is wrong
    stall_after: int = 0  # bytes of a big blob in one answer, after which nothing comes any more; 0: never
    drop_after: int = 0  # the same, but the connection is closed
    manifest_status: int = 200  # another one refuses every manifest
    manifest_statuses: list[int] = field(default_factory=list)  # for the next manifest requests, one each
    blob_statuses: list[int] = field(default_factory=list)  # for the next blob requests, one each
    requests: list[str] = field(default_factory=list)  # what was asked: "GET PATH RANGE"
    stopping: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, behaviour: Behaviour, *rest: object) -> None:
        self.folder, self.behaviour = folder, behaviour
        super().__init__(*rest)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        self.behaviour.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        manifest = re.fullmatch(r"/v2/([\w.-]+/[\w.-]+)/manifests/([\w.-]+)", self.path)
        blob = re.fullmatch(r"/(v2/[\w.-]+/[\w.-]+/blobs|direct)/(sha256:[0-9a-f]{64})", self.path)
        if manifest:
            self._manifest(self.folder / "manifests" / manifest[1] / manifest[2], body)
        elif blob:
            self._blob(blob[2], direct=blob[1] == "direct", body=body)
        else:
            self._send(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', body)

    def _manifest(self, path: Path, body: bool) -> None:
        how = self.behaviour
        status = how.manifest_statuses.pop(0) if how.manifest_statuses else how.manifest_status
        if status != 200:
            self._send(status, b'{"error":"refused by the test"}', body, Retry_After="0")
        elif path.is_file():
            self._send(200, path.read_bytes(), body, Content_Type=_MANIFEST_TYPE)
        else:
            self._send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', body)

    def _blob(self, digest: str, direct: bool, body: bool) -> None:
        how = self.behaviour
        if body and how.blob_statuses:
            status = how.blob_statuses.pop(0)
            if status != 200:
                self._send(status, b"refused by the test", body, Retry_After="0")
                return
        path = blob_path(self.folder, digest)
        if not path.is_file():
            self._send(404, b"{}", body)
            return
        if how.mode == "redirect" and not direct and body:
            port = self.connection.getsockname()[1]
            self._send(307, b"", body, Location=f"http://localhost:{port}/direct/{digest}")
            return
        data = path.read_bytes()
        if how.corrupt and len(data) >= _BIG:
            data = data[:-1] + bytes([data[-1] ^ 1])
        headers = {"Location": self.path} if how.mode in ("location", "norange") and not direct else {}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or how.mode == "norange":
            self._send(200, data, body, Accept_Ranges="bytes", **headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if first > last:
            self._send(416, b"", body, Content_Range=f"bytes */{len(data)}")
            return
        self._send(206, data[first : last + 1], body, Content_Range=f"bytes {first}-{last}/{len(data)}")

    def _send(self, status: int, data: bytes, body: bool, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if body:
            # A client that is killed in the middle is what the tests are about.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._write(data)

    def _write(self, data: bytes) -> None:
        how = self.behaviour
        limit = how.stall_after or how.drop_after if len(data) >= _BIG else 0
        end = min(limit, len(data)) if limit else len(data)
        step = max(1, int(how.rate * _STEP)) if how.rate else max(1, end)
        for start in range(0, end, step):
            self.wfile.write(data[start : min(end, start + step)])
            if how.rate:
                time.sleep(_STEP)
        if end < len(data):
            self.close_connection = True
            if how.stall_after:
                how.stopping.wait()


class Server(ThreadingHTTPServer):
    """Listens at once; `serve_forever` answers."""

    daemon_threads = True

    def __init__(self, listen: str, folder: Path, behaviour: Behaviour) -> None:
        host, _, port = listen.rpartition(":")
        self.behaviour = behaviour
        super().__init__((host, int(port)), partial(_Handler, folder, behaviour))

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


@contextlib.contextmanager
def serving(folder: Path, behaviour: Behaviour | None = None, listen: str = "127.0.0.1:0") -> Iterator[Server]:
    """A registry in this process, for the time of the block."""
    server = Server(listen, folder, behaviour or Behaviour())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.behaviour.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="holdfast.lab.models.registry", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--models", required=True, type=Path, metavar="DIR", help="made by holdfast.lab.models.make")
    given = parser.parse_args(arguments)
    if not (given.models / "manifests").is_dir():
        parser.error(f"{given.models} holds no manifests")
    server = Server(given.listen, given.models, Behaviour())
    sys.stdout.write(f"registry at {server.url}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
