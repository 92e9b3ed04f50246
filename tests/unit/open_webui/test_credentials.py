"""Secrets made on the machine: once, for root alone, and the first administrator's file only as long as it is needed."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.components.open_webui import files
from holdfast.components.open_webui.facts import read_drift
from holdfast.components.open_webui.operations import as_started_now, credentials, retire_bootstrap

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of root's own need root")


@pytest.fixture
def bench(tmp_path: Path, apply: Callable[..., int]) -> Callable[[], int]:
    (tmp_path / "etc").mkdir()
    given = {"folder": str(tmp_path / "etc"), "database": str(tmp_path / "webui.db")}
    return lambda: apply(credentials, email="ada@example.org", person="Ada O'Neil", **given)


def contents(tmp_path: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted((tmp_path / "etc").iterdir())}


@needs_root
def test_made_once_and_private(tmp_path: Path, bench: Callable[[], int]) -> None:
    assert bench() == 1
    made = contents(tmp_path)
    assert sorted(made) == ["admin-password", "bootstrap.env", "secret.env"]
    assert all((tmp_path / "etc" / name).stat().st_mode & 0o777 == 0o600 for name in made)
    password = made["admin-password"].strip()
    assert len(password) == 20 and password.isalnum()
    assert f'WEBUI_ADMIN_PASSWORD="{password}"\n' in made["bootstrap.env"]
    assert bench() == 0
    assert contents(tmp_path) == made


@needs_root
@pytest.mark.parametrize("name", ["admin-password", "secret.env", "bootstrap.env"])
@pytest.mark.parametrize("damage", ["mode", "empty", "gone"])
def test_damage_is_repaired_and_nothing_else_changes(
    tmp_path: Path, bench: Callable[[], int], name: str, damage: str
) -> None:
    bench()
    before, path = contents(tmp_path), tmp_path / "etc" / name
    if damage == "mode":
        path.chmod(0o644)
    elif damage == "empty":
        path.write_text("")
    else:
        path.unlink()
    assert bench() == 1
    after = contents(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600 and after[name]
    others = set(before) - {name} - ({"bootstrap.env"} if name == "admin-password" else set())
    assert all(after[other] == before[other] for other in others)
    assert damage != "mode" or after == before
    assert after["admin-password"].strip() in after["bootstrap.env"]
    assert bench() == 0


@needs_root
def test_with_a_database_there_is_no_first_administrator_to_make(tmp_path: Path, bench: Callable[[], int]) -> None:
    (tmp_path / "webui.db").touch()
    assert bench() == 1
    assert list(contents(tmp_path)) == ["secret.env"]
    assert bench() == 0


@needs_root
def test_a_password_that_its_owner_took_away_is_not_made_up_again(tmp_path: Path, bench: Callable[[], int]) -> None:
    bench()
    (tmp_path / "webui.db").touch()
    (tmp_path / "etc/bootstrap.env").unlink()
    (tmp_path / "etc/admin-password").chmod(0o644)
    assert bench() == 1, "as long as it is there, it is private"
    (tmp_path / "etc/admin-password").unlink()
    assert bench() == 0
    assert list(contents(tmp_path)) == ["secret.env"]


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, object]]]:
    """Open WebUI's /api/config, to be filled by the test."""
    answer: dict[str, object] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/config" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *words: object) -> None:
            pass

    httpd = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", answer
    httpd.shutdown()
    httpd.server_close()


@needs_root
def test_the_start_up_file_goes_when_the_account_is_there_and_not_before(
    tmp_path: Path, bench: Callable[[], int], apply: Callable[..., int], server: tuple[str, dict[str, object]]
) -> None:
    bench()
    url, answer = server
    given = {"folder": str(tmp_path / "etc"), "database": str(tmp_path / "webui.db"), "url": url}
    answer["onboarding"] = True
    with pytest.raises(subprocess.CalledProcessError) as caught:
        apply(retire_bootstrap, **given)
    assert "without any account" in caught.value.stderr
    assert (tmp_path / "etc/bootstrap.env").exists()
    del answer["onboarding"]
    (tmp_path / "webui.db").touch()
    assert apply(retire_bootstrap, **given) == 1
    assert not (tmp_path / "etc/bootstrap.env").exists()
    assert apply(retire_bootstrap, **given) == 0
    assert bench() == 0, "it does not come back"


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """A systemctl that knows one unit: a process with the environment that the test gives it."""
    children: list[subprocess.Popen[bytes]] = []
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def start(environment: dict[str, str]) -> None:
        children.append(subprocess.Popen(["/bin/sleep", "60"], env=environment))
        program = tmp_path / "bin/systemctl"
        program.write_text(f'#!/bin/sh\n[ "$1" = show ] && echo {children[-1].pid} || echo "$@" >> {tmp_path}/done\n')
        program.chmod(0o755)

    yield start
    for child in children:
        child.kill()
        child.wait()


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """What as_started_now wants to know, for a machine without a tailnet."""
    (tmp_path / "secret.env").write_text("WEBUI_SECRET_KEY=abc=\n")
    return {
        "unit": "open-webui.service", "origin": files.ORIGIN.read_text(), "port": 8080, "extra": [],
        "secret_file": str(tmp_path / "secret.env"), "files": [str(tmp_path / "unit"), str(tmp_path / "current")],
    }  # fmt: skip


RIGHT = {
    "CORS_ALLOW_ORIGIN": "http://127.0.0.1:8080;http://localhost:8080", "WEBUI_URL": "http://127.0.0.1:8080",
    "WEBUI_SESSION_COOKIE_SECURE": "false", "WEBUI_SECRET_KEY": "abc=",
}  # fmt: skip


def test_a_server_with_an_outdated_address_or_key_is_restarted(
    tmp_path: Path, apply: Callable[..., int], systemctl: Callable[[dict[str, str]], None], given: dict[str, Any]
) -> None:
    systemctl(RIGHT)
    assert apply(as_started_now, **given) == 0
    systemctl({**RIGHT, "CORS_ALLOW_ORIGIN": "http://old.tail.test", "WEBUI_SECRET_KEY": "old"})
    assert read_drift(**given) == {"running": True, "differs": ["CORS_ALLOW_ORIGIN", "WEBUI_SECRET_KEY"]}
    assert apply(as_started_now, **given) == 1
    assert (tmp_path / "done").read_text() == "restart open-webui.service\n"


def test_a_server_older_than_its_unit_or_program_is_restarted(
    tmp_path: Path, apply: Callable[..., int], systemctl: Callable[[dict[str, str]], None], given: dict[str, Any]
) -> None:
    """Somebody changed the unit and restarted it; the apply has put the file right, and the hash in it was never wrong."""
    (tmp_path / "unit").write_text("")
    (tmp_path / "current").symlink_to("/nowhere")
    for name, seconds in (("unit", -60), ("current", -60)):
        when = time.time() + seconds
        os.utime(tmp_path / name, (when, when), follow_symlinks=False)
    systemctl(RIGHT)
    assert apply(as_started_now, **given) == 0
    for name in ("unit", "current"):
        os.utime(tmp_path / name, (time.time() + 60,) * 2, follow_symlinks=False)
        assert read_drift(**given)["differs"][-1] == str(tmp_path / name)
    assert apply(as_started_now, **given) == 1


def test_a_server_that_does_not_run_is_not_this_operations_business(
    apply: Callable[..., int], systemctl: Callable[[dict[str, str]], None], tmp_path: Path, given: dict[str, Any]
) -> None:
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    (tmp_path / "unit").write_text("")
    assert apply(as_started_now, **given) == 0
