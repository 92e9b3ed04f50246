"""holdfast_onhost/origin.py: the addresses that the page may be opened under."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.clock import Clock

from holdfast_onhost import origin

LOCAL = ["http://127.0.0.1:8080", "http://localhost:8080"]
RUNNING = {"BackendState": "Running", "Self": {"DNSName": "WS.tail.test."}}
HTTP = {
    "TCP": {"80": {"HTTP": True}},
    "Web": {"ws.tail.test:80": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}},
}
HTTPS = {
    "TCP": {"443": {"HTTPS": True}},
    "Web": {"ws.tail.test:443": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:8080"}}}},
}
OTHER = {
    "TCP": {"81": {"HTTP": True}},
    "Web": {"ws.tail.test:81": {"Handlers": {"/": {"Proxy": "http://127.0.0.1:18080"}}}},
}


class Machine:
    """A tailscale program that answers as told; each status once, the last for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.status: list[dict[str, Any]] = [{}]
        self.serve: dict[str, Any] = {}
        self.folder, self.clock = folder, Clock()
        monkeypatch.setattr(origin, "tailscale", self.answer)
        monkeypatch.setattr(origin, "time", self.clock)

    def answer(self, *words: str) -> dict[str, Any]:
        if words[0] == "serve":
            return self.serve
        return self.status.pop(0) if len(self.status) > 1 else self.status[0]

    def run(self, *words: str) -> dict[str, str]:
        output = self.folder / "run" / "origin.env"
        assert (
            origin.main(["--port", "8080", "--output", str(output), "--last-name", str(self.folder / "name"), *words])
            == 0
        )
        assert output.stat().st_mode & 0o777 == 0o644
        pairs = (line.partition("=") for line in output.read_text().splitlines())
        return {name: value.strip('"') for name, _, value in pairs}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_without_a_tailnet_only_loopback(machine: Machine) -> None:
    got = machine.run()
    assert got["CORS_ALLOW_ORIGIN"].split(";") == LOCAL
    assert (got["WEBUI_URL"], got["WEBUI_SESSION_COOKIE_SECURE"]) == (LOCAL[0], "false")
    assert machine.clock.now == 0


@pytest.mark.parametrize(
    "serve, public, secure",
    [
        (HTTP, ["http://ws.tail.test", "http://ws"], "false"),
        (HTTPS, ["https://ws.tail.test", "https://ws"], "true"),
        ({"TCP": {**HTTP["TCP"], **HTTPS["TCP"]}, "Web": {**HTTP["Web"], **HTTPS["Web"]}},
         ["https://ws.tail.test", "https://ws", "http://ws.tail.test", "http://ws"], "false"),
        ({"TCP": {"8081": {"TCPForward": "127.0.0.1:8080"}}}, ["http://ws.tail.test:8081", "http://ws:8081"], "false"),
        ({"TCP": {"443": {"TCPForward": "127.0.0.1:8080", "TerminateTLS": "ws.tail.test"}}},
         ["https://ws.tail.test", "https://ws"], "true"),
        (OTHER, [], "false"),
        ({}, [], "false"),
        ({"Web": None, "TCP": {"80": None}}, [], "false"),
    ],
)  # fmt: skip
def test_the_name_and_scheme_that_serve_publishes(
    machine: Machine, serve: dict[str, Any], public: list[str], secure: str
) -> None:
    machine.status, machine.serve = [RUNNING], serve
    got = machine.run()
    assert got["CORS_ALLOW_ORIGIN"].split(";") == public + LOCAL
    assert got["WEBUI_SESSION_COOKIE_SECURE"] == secure
    assert got["WEBUI_URL"] == (public + LOCAL)[0]


def test_what_it_writes_can_be_read_by_all_whatever_the_units_umask(machine: Machine) -> None:
    before = os.umask(0o077)
    try:
        machine.run()
    finally:
        os.umask(before)
    assert (machine.folder / "run").stat().st_mode & 0o777 == 0o755


def test_it_waits_for_a_daemon_that_is_starting_and_not_for_ever(machine: Machine) -> None:
    starting = {"BackendState": "Starting", "Self": {"DNSName": ""}}
    machine.status, machine.serve = [starting, starting, RUNNING], HTTP
    assert machine.run()["WEBUI_URL"] == "http://ws.tail.test"
    assert 0 < machine.clock.now < 20
    (machine.folder / "name").unlink()
    machine.status, before = [starting], machine.clock.now
    assert machine.run("--wait", "5")["WEBUI_URL"] == LOCAL[0]
    assert 5 <= machine.clock.now - before < 6


def test_a_machine_that_starts_before_its_network_keeps_its_name(machine: Machine) -> None:
    machine.status, machine.serve = [RUNNING], HTTP
    machine.run()
    machine.status = [{"BackendState": "NoState", "Self": None}]
    assert machine.run()["WEBUI_URL"] == "http://ws.tail.test"
    # Logged out is no delay: the name is no longer ours.
    machine.status = [{"BackendState": "NeedsLogin", "Self": {"DNSName": ""}}]
    assert machine.run()["WEBUI_URL"] == LOCAL[0]
    assert machine.clock.now >= 20


def test_a_renamed_machine_answers_under_its_new_name(machine: Machine) -> None:
    machine.status, machine.serve = [RUNNING], HTTP
    machine.run()
    machine.status = [{"BackendState": "Running", "Self": {"DNSName": "ws-1.tail.test."}}]
    assert machine.run()["CORS_ALLOW_ORIGIN"].split(";") == ["http://ws-1.tail.test", "http://ws-1", *LOCAL]
    assert (machine.folder / "name").read_text() == "ws-1.tail.test\n"


def test_further_addresses_of_the_operator(machine: Machine) -> None:
    machine.status, machine.serve = [RUNNING], HTTP
    got = machine.run("--extra", "https://chat.example.org", "--extra", "http://ws")
    assert got["CORS_ALLOW_ORIGIN"].split(";") == [
        "http://ws.tail.test", "http://ws", "https://chat.example.org", *LOCAL
    ]  # fmt: skip
    machine.serve = HTTPS
    assert machine.run("--extra", "https://chat.example.org")["WEBUI_SESSION_COOKIE_SECURE"] == "true"


def test_the_real_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tailscale"
    program.write_text(f"#!/bin/sh\necho \"$@\" >> {tmp_path}/asked\necho '{json.dumps(RUNNING)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert origin.tailscale("status", "--json") == RUNNING
    for broken in ("echo nonsense", "exit 3", "echo 7"):
        program.write_text(f"#!/bin/sh\n{broken}\n")
        assert origin.tailscale("status", "--json") == {}
        monkeypatch.setattr(origin, "SOCKET", str(program))  # its daemon is there
        assert origin.tailscale("status", "--json") == {"BackendState": "NoState"}
        monkeypatch.undo()
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program.unlink()
    assert origin.tailscale("status", "--json") == {}
    assert (tmp_path / "asked").read_text() == "status --json\n"
