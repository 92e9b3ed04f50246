"""Open WebUI as the phone meets it: through the tailnet, under its public address, over the page's own websocket."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.lab.conftest import Provisioned

from holdfast.components.open_webui import files
from holdfast.lab import Lab
from holdfast.lab.models import roles
from holdfast.operations.venv import locked_version

CHAT = Path(__file__).parent / "chat"
EMAIL = "admin@workstation.internal"
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}},
}


@dataclass
class Door:
    """The way in from the phone."""

    machine: Lab
    url: str
    address: str

    def run(self, program: str, *words: str, text: str | None = None, timeout: float = 240) -> str:
        """One of the programs in chat/, inside the phone's network."""
        done = self.machine.run_in("phone", [sys.executable, CHAT / program, *words], input=text, timeout=timeout)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def status(self, origin: str) -> int:
        return int(self.run("handshake.py", self.url, origin, self.address))


@pytest.fixture(scope="module")
def door(workstation: Provisioned) -> Door:
    # A test before this one may have restarted the machine: an apply ends when everything answers.
    workstation.apply()
    tailnet = workstation.state().tailnet
    return Door(workstation, f"http://{tailnet['name']}", tailnet["ipv4"])


def on_machine(machine: Lab, command: str) -> str:
    done: subprocess.CompletedProcess[str] = machine.ssh([command])
    assert done.returncode == 0, f"{command}: {done.stderr[-1000:]}"
    return done.stdout


def generations(machine: Lab, role: str) -> int:
    """How many chats the role's server has answered, by its own log."""
    lines = on_machine(machine, f"sudo journalctl -u ollama@{role} -o cat --no-pager").splitlines()
    return sum("POST" in line and '"/api/chat"' in line for line in lines)


@pytest.fixture(scope="module")
def talked(door: Door) -> dict[str, Any]:
    """One login and one message to each model; how many answers each server gave for it."""
    password = on_machine(door.machine, "sudo cat /etc/holdfast/open-webui/admin-password")
    before = {role.name: generations(door.machine, role.name) for role in roles.ROLES}
    words = ("--url", door.url, "--address", door.address, "--email", EMAIL, *(role.model for role in roles.ROLES))
    found: dict[str, Any] = json.loads(door.run("browser_chat.py", *words, text=password))
    time.sleep(1)
    found["generations"] = {role: generations(door.machine, role) - count for role, count in before.items()}
    return found


@pytest.mark.parametrize("role", roles.ROLES, ids=lambda role: role.name)
def test_each_model_answers_the_phone(talked: dict[str, Any], role: roles.Role) -> None:
    assert talked["signin"] == 200
    assert role.model in talked["listed"]
    answer = talked["answers"][role.model]
    assert not answer["error"] and answer["done"], answer
    assert role.says in answer["content"]
    assert "response:completion" in answer["events"] or "chat:completion" in answer["events"], (
        "it came over the websocket"
    )


def test_a_message_is_one_request_to_one_model(talked: dict[str, Any]) -> None:
    assert talked["generations"] == {role.name: 1 for role in roles.ROLES}


def test_the_cookie_suits_the_scheme(talked: dict[str, Any]) -> None:
    # Published over http: a cookie marked Secure would be dropped by the browser.
    assert talked["cookies"] == {"token": False}


def test_the_reasoner_itself_refuses_tools(door: Door) -> None:
    """What the chat above must not run into: were tools sent along, this would be the answer in the browser."""
    body = {"model": roles.REASONER.model, "messages": [{"role": "user", "content": "hello"}], "tools": [TOOL]}
    command = f"curl -s -m 120 -d '{json.dumps(body)}' http://127.0.0.1:11435/api/chat"
    assert "does not support tools" in on_machine(door.machine, command)


def test_only_its_own_pages_are_answered(door: Door) -> None:
    short = door.url.partition(".")[0]
    assert door.status(door.url) == 101
    assert door.status(short) == 101, "MagicDNS knows the short name, too"
    assert door.status("http://evil.example") == 403
    assert door.status(door.url.replace("http:", "https:")) == 403, "another scheme is another page"


def test_strangers_get_nothing(door: Door) -> None:
    fetch = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--noproxy",
        "*",
        "--connect-to",
        f"::{door.address}:",
    ]
    page = door.machine.run_in("phone", [*fetch, f"{door.url}/ready"]).stdout
    assert page == "200"
    assert door.machine.run_in("phone", [*fetch, f"{door.url}/api/models"]).stdout in ("401", "403")
    new = ["-H", "content-type: application/json", "-d", '{"name":"x","email":"x@example.org","password":"x"}']
    assert door.machine.run_in("phone", [*fetch, *new, f"{door.url}/api/v1/auths/signup"]).stdout == "403"


def test_what_is_new_is_shown_as_ever(door: Door) -> None:
    """Of the changelog only the five newest releases are read at a start: as many as the page shows."""
    shown = json.loads(on_machine(door.machine, "curl -s http://127.0.0.1:8080/api/changelog"))
    assert len(shown) == 5 and next(iter(shown)) == locked_version(files.LOCK, "open-webui")
