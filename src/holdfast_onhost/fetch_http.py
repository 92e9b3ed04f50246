"""One answer from an http(s):// or file:// address, from a given byte on.

Redirects are followed by hand: the Range goes along, nothing secret could, and a signed address that has expired is
asked for anew at its origin (registries redirect blobs to such addresses).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import os
import re
import socket
import ssl
import stat
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast_onhost.fetch_errors import FetchError

_BUSY = (408, 425, 429)  # as every 5xx: the same request may succeed later
_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 5
_ERROR_BODY = 300  # bytes of an error's body that are worth showing
_NUMBER = "([0-9]{1,18})"  # as headers may have it
_AS_IT_IS = "%/:=&?~#+!$,;'@()*[]"  # what an address may hold besides letters and digits


class TooSlow(OSError):
    """Bytes come, and so few that nobody can wait for the rest; another try may cure it."""


@dataclass
class Pace:
    """`least` bytes per second over each `window` seconds of waiting for bytes; 0: any.  Our own pauses do not count."""

    least: float = 0.0
    window: float = 60.0
    count: int = 0
    spent: float = 0.0

    def took(self, count: int, seconds: float) -> None:
        """Raises TooSlow."""
        self.count, self.spent = self.count + count, self.spent + seconds
        if self.spent >= self.window:
            if self.count < self.least * self.window:
                raise TooSlow(f"{self.count} bytes in {self.spent:.0f} s, at least {self.least:g} a second are wanted")
            self.count, self.spent = 0, 0.0


@dataclass
class Answer:
    """An answer's head; its body is read with `read`."""

    status: int
    start: int  # offset of the first byte of the body
    total: int | None  # size of the whole file, where the server says so
    redirected: bool
    retry_after: float
    body: http.client.HTTPResponse | io.BufferedReader
    connection: http.client.HTTPConnection | None = None
    pace: Pace = field(default_factory=Pace)
    encoding: str = ""  # how the body was packed, though nobody asked for that

    def read(self, count: int) -> bytes:
        """What has arrived, `count` bytes at most; nothing at the end.  Raises OSError; TooSlow, and what came last is lost."""
        begin = time.monotonic()
        # read1: read() would lose what has arrived when the connection stalls before `count` bytes are there.
        data = self.body.read1(count)
        if data:
            self.pace.took(len(data), time.monotonic() - begin)
        return data

    @property
    def busy(self) -> bool:
        """The same request may succeed later."""
        return self.status in _BUSY or self.status >= 500

    def packed(self, url: str) -> FetchError:
        """The error where `encoding` has changed the bytes."""
        return FetchError(
            f"{url}: sent packed ({self.encoding}), which was not asked for",
            "a server or cache on the way changes what it passes on: go around it, or take another source",
        )

    def excerpt(self) -> str:
        """The beginning of an error's body, on one line."""
        try:
            text = self.read(_ERROR_BODY).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return ""
        return " ".join(text.split())

    def close(self) -> None:
        self.body.close()
        if self.connection:
            self.connection.close()


def get(url: str, start: int = 0, end: int | None = None, headers: dict[str, str] | None = None,
        timeout: float = 30, method: str = "GET", pace: "Pace | None" = None) -> Answer:  # fmt: skip
    """Asks for the bytes from `start` to `end` (inclusive, None: to the last one).

    `timeout` is in seconds without a byte; `method` is GET or HEAD; `pace` is what is too slow, for the head and the
    body.  The proxies of the environment are used.
    Raises OSError or http.client.HTTPException for what may pass, FetchError for what will not.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme == "file":
        return _file(url, start)
    if scheme not in ("http", "https"):
        raise FetchError(f"{url}: not a http://, https:// or file:// address", "correct the address")
    sent = {"User-Agent": "holdfast", "Accept-Encoding": "identity", **(headers or {})}
    if start or end is not None:
        sent["Range"] = f"bytes={start}-{'' if end is None else end}"
    return _http(method, url, sent, timeout, _HOPS, pace or Pace())


def _connection(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """A connection for `url`, what to ask for on it, and the headers that a proxy wants."""
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        raise FetchError(f"{url}: no host in this address", "correct the address")
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if proxy and not urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        through = urllib.parse.urlsplit(proxy if "//" in proxy else "http://" + proxy)
        account = (
            urllib.parse.unquote(f"{through.username}:{through.password or ''}").encode() if through.username else b""
        )
        more = {"Proxy-Authorization": "Basic " + base64.b64encode(account).decode()} if account else {}
        host, port = through.hostname or "", through.port or 80
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout), url, more
        tunnel = http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
        tunnel.set_tunnel(parts.hostname, parts.port, more)
        return tunnel, target, {}
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context), target, {}
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout), target, {}


def _http(method: str, url: str, headers: dict[str, str], timeout: float, hops: int, pace: Pace) -> Answer:
    try:
        parts = urllib.parse.urlsplit(url)
        connection, target, more = _connection(url, timeout)
    except ValueError as error:
        raise FetchError(f"{url}: {error}", "correct the address") from error
    try:
        with _deadline(connection, timeout + pace.window if pace.least else 0.0):
            connection.request(method, target, headers={**headers, **more})
            response = connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise FetchError(f"{url}: its certificate is not trusted: {error.verify_message}",
                         "check the address and this machine's clock and certificates") from error  # fmt: skip
    except ValueError as error:  # a host's name that is none
        connection.close()
        raise FetchError(f"{url}: {error}", "correct the address, or try another source") from error
    except BaseException:
        connection.close()
        raise
    if response.status in _REDIRECTS:
        location = urllib.parse.quote(response.headers.get("Location") or "", safe=_AS_IT_IS, encoding="latin-1")
        connection.close()
        try:
            target = urllib.parse.urljoin(url, location)
            scheme = urllib.parse.urlsplit(target).scheme
        except ValueError as error:
            raise FetchError(f"{url}: a redirect to {location}: {error}", "try another source") from error
        if not hops:
            raise FetchError(f"{url}: more than {_HOPS} redirects",
                             "they may go in a circle: correct the address, or try another source")  # fmt: skip
        if scheme not in (("https",) if parts.scheme == "https" else ("http", "https")):
            raise FetchError(f"{url}: refused to follow a redirect to {target}",
                             "take an address that leads to the file by http(s), and not from https to http")  # fmt: skip
        answer = _http(method, target, headers, timeout, hops - 1, pace)
        answer.redirected = True
        return answer
    try:
        first, total = _extent(response)
    except BaseException:
        response.close()
        connection.close()
        raise
    encoding = (response.headers.get("Content-Encoding") or "").strip().lower()
    encoding = "" if encoding == "identity" else encoding
    return Answer(response.status, first, total, False, _seconds(response), response, connection, pace, encoding)


@contextlib.contextmanager
def _deadline(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """An answer's head has to be there within `seconds` (0: at any time): each byte of it would start `timeout` anew.

    A proxy's answer comes before that one, and while the connection is made.
    """

    def cut() -> None:
        with contextlib.suppress(OSError):
            if connection.sock:
                connection.sock.shutdown(socket.SHUT_RDWR)

    late = threading.Timer(seconds, cut)
    late.daemon = True
    if seconds:
        late.start()
    try:
        yield
    finally:
        late.cancel()


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    if response.status == 206:
        found = re.fullmatch(rf"bytes {_NUMBER}-{_NUMBER}/({_NUMBER}|\*)", response.headers.get("Content-Range") or "")
        if not found:
            raise http.client.HTTPException(f"206 with Content-Range {response.headers.get('Content-Range')!r}")
        return int(found[1]), int(found[4]) if found[4] else None
    if response.status == 416:
        found = re.fullmatch(rf"bytes \*/{_NUMBER}", response.headers.get("Content-Range") or "")
        return 0, int(found[1]) if found else None
    found = re.fullmatch(_NUMBER, response.headers.get("Content-Length") or "")
    return 0, int(found[1]) if found else None


def _seconds(response: http.client.HTTPResponse) -> float:
    found = re.fullmatch(_NUMBER, response.headers.get("Retry-After") or "")
    return min(60.0, float(found[1])) if found else 0.0


def _file(url: str, start: int) -> Answer:
    parts = urllib.parse.urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(
            f"{url}: a file:// address of this machine has three slashes", "write it as file:///folder/file"
        )
    path = urllib.parse.unquote(parts.path)
    try:
        # Non-blocking: to open a pipe would wait for somebody who writes to it.
        body = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise FetchError(f"{url}: {why}", "mount or copy it there, or correct `depot`") from error
    found = os.fstat(body.fileno())
    if not stat.S_ISREG(found.st_mode):
        body.close()
        raise FetchError(f"{url}: no regular file", "take the file itself")
    size = found.st_size
    body.seek(min(start, size))
    return Answer(206 if start else 200, min(start, size), size, False, 0.0, body)
