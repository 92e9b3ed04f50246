"""Addresses at which nothing answers: pyinfra gives up in its own time, and the reason is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pyinfra.api.config import ConfigDefaults

from holdfast.apply.result import failure, silence
from holdfast.paths import ROOT

# As plain pyinfra, with one second in place of its ten.
PYINFRA = """
from pyinfra_cli.main import main
from pyinfra.api import config
config.config_defaults["CONNECT_TIMEOUT"] = 1
main()
"""


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """"mute" accepts and never says a word; "swallows": its queue is full, and the kernel drops what comes."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=8 if request.param == "mute" else 0))
        for _ in range(0 if request.param == "mute" else 8):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def connect(tmp_path: Path, ssh: str) -> str:
    """What pyinfra says of a host with these settings; it must come to an end by itself."""
    (tmp_path / "hosts.yml").write_text(f"box: {{profile: cpu, login_user: ada, tailscale: {{enabled: false}}, ssh: {ssh}}}\n")
    done = subprocess.run(
        [sys.executable, "-c", PYINFRA, "inventory.py", "deploy.py", "--limit", "box", "-y", "--json"], cwd=ROOT,
        env={**os.environ, "HOLDFAST_HOSTS": str(tmp_path / "hosts.yml")}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    error = failure("box", done.returncode, done.stderr, Path("up.log"), [], "")
    assert error.fix
    return error.message


@pytest.mark.parametrize(
    ("port", "words"), [("mute", "does not speak SSH"), ("swallows", "nothing answers at its address")], indirect=["port"]
)
def test_the_reason_is_told(tmp_path: Path, port: int, words: str) -> None:
    said = connect(tmp_path, f"{{hostname: 127.0.0.1, port: {port}, user: ada}}")
    assert said.startswith("box cannot be reached: ") and words in said and "\n" not in said


def test_behind_a_proxy_too(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host box\n  ProxyCommand sh -c 'cat >/dev/null'\n")
    assert "does not speak SSH" in connect(tmp_path, f"{{config_file: {tmp_path / 'config'}, user: ada}}")


def test_an_answer_is_no_silence(tmp_path: Path) -> None:
    """Control: a refusal is told in pyinfra's words."""
    said = connect(tmp_path, "{hostname: 127.0.0.1, port: 1, user: ada}")
    assert "Unable to connect to port 1" in said and "cannot be reached" not in said
    assert silence(["    [box]  Authentication error (username=ada)"]) == ""


def test_pyinfra_gives_up_by_itself() -> None:
    assert 0 < ConfigDefaults.CONNECT_TIMEOUT <= 30
