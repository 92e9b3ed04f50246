"""Static files over HTTP with byte ranges: the depot, as a NAS would serve it.

`python -m holdfast.lab.fileserver --listen HOST:PORT --folder DIR`. Python's own http.server has no ranges, and an
interrupted download could not go on.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO


class Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files below one folder; one range of bytes (RFC 9110 §14); no listing of folders."""

    protocol_version = "HTTP/1.1"
    _left = 0  # bytes of the answer's body, by send_head

    def send_head(self) -> IO[bytes] | None:  # type: ignore[override]
        path = self.translate_path(self.path)
        try:
            if not os.path.isfile(path):
                raise FileNotFoundError(path)
            file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        size = os.fstat(file.fileno()).st_size
        first, last = 0, size - 1
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span:
            first, last = int(span[1]), min(int(span[2] or last), last)
            if first > last:
                file.close()
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
        self.send_response(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK)
        if span:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Last-Modified", self.date_time_string(int(os.fstat(file.fileno()).st_mtime)))
        self.end_headers()
        file.seek(first)
        self._left = last - first + 1
        return file

    def copyfile(self, source: IO[bytes], outputfile: IO[bytes]) -> None:  # type: ignore[override]
        left = self._left
        while left > 0 and (piece := source.read(min(left, 1 << 18))):
            outputfile.write(piece)
            left -= len(piece)


def serve(host: str, port: int, folder: Path) -> ThreadingHTTPServer:
    """A server bound to the address; the caller runs it."""
    return ThreadingHTTPServer((host, port), partial(Handler, directory=str(folder)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="holdfast.lab.fileserver", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--folder", required=True, type=Path, metavar="DIR")
    given = parser.parse_args(arguments)
    host, _, port = given.listen.rpartition(":")
    serve(host, int(port), given.folder).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
