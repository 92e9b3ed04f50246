"""The second server that tries a role's next model: what it is given, what it says, and that nothing of it stays."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.unit.ollama.test_ollama import environment, workstation

from holdfast.components.ollama.trial import trial, try_model

# Stands for systemd and the unit: "start" serves one answer on the port of the environment, "stop" ends it.
SYSTEMCTL = """#!{python} -IS
import http.server, os, pathlib, signal, sys
folder, verb = pathlib.Path({folder!r}), sys.argv[2]
with (folder / "said").open("a") as said:
    print(*sys.argv[2:], file=said)
if verb == "start":
    text = (folder / "next.env").read_text()
    (folder / "seen.env").write_text(text)
    if not (folder / "answer").exists():
        sys.exit(1)
    class Ollama(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            (folder / "asked").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            status, _, body = (folder / "answer").read_bytes().partition(b" ")
            self.send_response(int(status)); self.end_headers(); self.wfile.write(body)
        def log_message(self, *words):
            pass
    port = int(text.rpartition("OLLAMA_HOST=127.0.0.1:")[2].split()[0])
    server = http.server.HTTPServer(("127.0.0.1", port), Ollama)
    pid = os.fork()
    if pid:
        (folder / "pid").write_text(str(pid))
        os._exit(0)
    for number in (0, 1, 2):
        os.close(number)
    server.serve_forever()
if verb == "stop" and (folder / "pid").exists():
    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    (folder / "pid").unlink()
"""


def last_of_each(text: str) -> dict[str, str]:
    """As systemd reads an environment: of a name that is there twice, the last."""
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that stand for systemd's, and the folders that a trial which was cut off has left."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(SYSTEMCTL.format(python=sys.executable, folder=str(tmp_path)))
    (programs / "journalctl").write_text("#!/bin/sh\necho the card has fallen off the bus\n")
    for path in programs.iterdir():
        path.chmod(0o755)
    for left in ("home", "cache"):
        (tmp_path / left / "deep").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path


def tried(machine: Path, more: str = "") -> str:
    text = f"# ours\nHOME={machine}/home\nCUDA_CACHE_PATH={machine}/cache\nHOLDFAST_INSTANCE=next.test\nOLLAMA_HOST=127.0.0.1:1\n"
    text += f"HOLDFAST_LEASE_DIR={machine}/lease\n{more}"
    for name in ("next.test", "test"):
        (machine / "lease" / "left.queue").mkdir(parents=True, exist_ok=True)
        (machine / "lease" / "left.queue" / name).touch()
    problem = try_model("ollama@next.test.service", str(machine / "next.env"), text, "new:7b", 30)
    assert not {"home", "cache", "next.env", "pid"} & set(os.listdir(machine)), "nothing of it stays"
    assert os.listdir(machine / "lease" / "left.queue") == ["test"], "nor its place in a queue"
    said = (machine / "said").read_text().splitlines()
    assert [line.split()[0] for line in said] == ["stop", "reset-failed", "daemon-reload", "start", "stop", "reset-failed"]
    seen = last_of_each((machine / "seen.env").read_text())
    assert seen["OLLAMA_HOST"] == f"127.0.0.1:{seen['HOLDFAST_PORT']}" != "127.0.0.1:1"
    return problem


def test_a_model_that_answers(machine: Path) -> None:
    (machine / "answer").write_text('200 {"done": true}')
    assert tried(machine) == ""
    asked = json.loads((machine / "asked").read_text())
    assert (asked["model"], asked["options"]) == ("new:7b", {"num_predict": 1})


@pytest.mark.parametrize(("answer", "problem"), [
    ("500 unknown architecture", "HTTP 500 unknown architecture"),
    ('200 {"done": false}', "no whole answer: {'done': False}"),
    ("200 <html>", "Expecting value"),
    (None, "its server did not start: the card has fallen off the bus"),
])  # fmt: skip
def test_one_that_does_not_says_why(machine: Path, answer: str | None, problem: str) -> None:
    if answer is not None:
        (machine / "answer").write_text(answer)
    assert tried(machine).startswith(problem)


def test_its_environment_is_the_roles_own_but_for_what_they_cannot_share() -> None:
    ws = workstation(instances={role: {"lease": ["memory"]} for role in ("coder", "reasoner")})
    made, own = trial(ws, "coder"), environment(ws, "coder")
    found = last_of_each(made.environment)
    assert made.unit == "ollama@next.coder.service" and made.file == "/etc/holdfast/ollama/next.coder.env"
    assert made.model == ws.instances["coder"].model
    different = {name for name in own if found.get(name) != own[name]}
    assert different == {"HOME", "CUDA_CACHE_PATH", "HOLDFAST_INSTANCE", "HOLDFAST_LEASE", "HOLDFAST_CONFIG"}
    assert found["HOLDFAST_LEASE"] == '"memory left"', "all that the role holds, and the cards that it uses"
    assert found.keys() == own.keys() - {"HOLDFAST_CONFIG"}, "which nobody compares with anything"


class Others:
    """An Ollama server with one model loaded, whose environment lies beside the trial's."""

    def __init__(self, folder: Path, name: str, cards: str, lease: str) -> None:
        told: list[Any] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.say({"models": [{"name": f"{name}:1b"}]})

            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.say({"done": True})

            def say(self, what: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(what).encode())

            def log_message(self, format: str, *words: object) -> None:
                pass

        self.told = told
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        lines = f'HOLDFAST_CARDS="{cards}"\nHOLDFAST_LEASE="{lease}"\nOLLAMA_HOST=127.0.0.1:{self.server.server_port}\n'
        (folder / f"{name}.env").write_text(lines)


def test_who_has_a_model_on_its_cards_and_holds_nothing_is_asked_to_unload_it(machine: Path) -> None:
    """Two small models on one card hold nothing and never wait; a larger one in the place of one of them would find no room."""
    (machine / "answer").write_text('200 {"done": true}')
    left, right = "left=0000:01:00.0", "right=0000:21:00.0"
    there = {
        "beside": Others(machine, "beside", left, ""), "elsewhere": Others(machine, "elsewhere", right, ""),
        "waits": Others(machine, "waits", f"{left} {right}", "left right"),
    }  # fmt: skip
    assert tried(machine, f'HOLDFAST_CARDS="{left}"\nHOLDFAST_LEASE="left"\n') == ""
    for other in there.values():
        other.server.shutdown()
        other.server.server_close()
    assert {name: other.told for name, other in there.items()} == {
        "beside": [{"model": "beside:1b", "keep_alive": 0}], "elsewhere": [], "waits": [],
    }  # fmt: skip
