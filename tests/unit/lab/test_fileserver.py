from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.lab import fileserver

BODY = bytes(range(256)) * 4


@pytest.fixture
def client(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(BODY)
    (tmp_path / "secret").write_text("outside")
    server = fileserver.serve("127.0.0.1", 0, tmp_path / "served")
    server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), int(port), timeout=5)
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()
    thread.join()


def get(client: http.client.HTTPConnection, path: str, span: str = "") -> tuple[int, bytes, str]:
    client.request("GET", path, headers={"Range": span} if span else {})
    answer = client.getresponse()
    return answer.status, answer.read(), answer.headers.get("Content-Range", "")


def test_a_whole_file_and_ranges_on_one_connection(client: http.client.HTTPConnection) -> None:
    assert get(client, "/file") == (200, BODY, "")
    assert get(client, "/file", "bytes=1000-") == (206, BODY[1000:], "bytes 1000-1023/1024")
    assert get(client, "/file", "bytes=0-0") == (206, BODY[:1], "bytes 0-0/1024")
    assert get(client, "/file", "bytes=1020-9999") == (206, BODY[1020:], "bytes 1020-1023/1024")


def test_a_range_behind_the_end_is_refused(client: http.client.HTTPConnection) -> None:
    assert get(client, "/file", "bytes=1024-") == (416, b"", "bytes */1024")
    assert get(client, "/file")[0] == 200, "the connection is still in step"


def test_an_unknown_kind_of_range_gives_the_whole_file(client: http.client.HTTPConnection) -> None:
    assert get(client, "/file", "bytes=-5") == (200, BODY, "")


@pytest.mark.parametrize("path", ["/nothing", "/", "/../secret", "/%2e%2e/secret"])
def test_nothing_but_files_below_the_folder(client: http.client.HTTPConnection, path: str) -> None:
    status, body, _ = get(client, path)
    assert status == 404
    assert b"outside" not in body


def test_head_has_the_length_and_no_body(client: http.client.HTTPConnection) -> None:
    client.request("HEAD", "/file")
    answer = client.getresponse()
    assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "1024", b"")
    assert get(client, "/file", "bytes=1-2")[1] == BODY[1:3]
