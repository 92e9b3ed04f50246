"""What `up` and `init` see of a machine: read with the facts of the components, here from this very computer."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from holdfast.cli import pci, remote, summary
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT
from holdfast.settings.loader import resolve

MODEL = "qwen2.5-coder:1.5b"
STATUS = {
    "BackendState": "Running", "TailscaleIPs": ["100.64.0.7", "fd7a::7"],
    "Self": {"DNSName": "Box.tail.example.", "Online": True, "TailscaleIPs": ["100.64.0.7"]},
}  # fmt: skip


class Servers(BaseHTTPRequestHandler):
    """Ollama and Open WebUI behind one port."""

    asked: ClassVar[list[tuple[str, Any]]] = []
    broken = ""

    def answer(self, body: Any) -> None:
        self.asked.append((self.path, body))
        if self.broken and self.path.endswith(self.broken):
            self.send_error(500)
            return
        out: Any = {"models": [{"name": MODEL, "size": 10, "size_vram": 4, "context_length": 512}]}
        text = json.dumps(out if self.path == "/api/ps" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(Servers, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Servers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def local(port: int) -> Any:
    """This computer as a workstation whose only server is behind ``port``."""
    site = {"name": "box", "profile": "cpu", "login_user": "ada", "local": True, "tailscale": {"enabled": False}}
    ws = resolve(site)
    one = ws.instances["coder"].model_copy(update={"port": port, "model": MODEL})
    return ws.model_copy(
        update={"instances": {"coder": one}, "open_webui": ws.open_webui.model_copy(update={"port": port})}
    )


@pytest.fixture
def tailscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that says who the node is."""
    program = tmp_path / "tailscale"
    program.write_text(f"#!/bin/sh\n[ \"$1 $2\" = 'status --json' ] && echo '{json.dumps(STATUS)}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_machine_is_seen_as_it_answers(port: int, tailscale: None) -> None:
    seen = summary.look(local(port))
    found = seen["instances"]["coder"]
    assert {k: found[k] for k in ("state", "bytes", "bytes_in_vram", "context")} == {
        "state": "answers", "bytes": 10, "bytes_in_vram": 4, "context": 512,
    }  # fmt: skip
    assert seen["tailnet"] == {"name": "box.tail.example", "online": True, "ipv4": "100.64.0.7", "ipv6": "fd7a::7"}
    assert [path for path, _ in Servers.asked] == ["/api/generate", "/api/ps", "/ready"]
    assert Servers.asked[0][1]["options"] == {"num_predict": 1}


def test_a_computer_without_a_tailnet_has_an_empty_one(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert summary.look(local(port))["tailnet"] == {"name": "", "online": False, "ipv4": "", "ipv6": ""}


@pytest.mark.parametrize(
    ("broken", "says"), [("generate", "the coder on box does not answer"), ("ready", "HTTP status 500")]
)
def test_what_does_not_answer_is_named(broken: str, says: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Servers, "broken", broken)
    with pytest.raises(HoldfastError, match=says) as caught:
        summary.look(local(port))
    assert "journalctl -u" in caught.value.fix


def test_cards_of_a_machine_are_read_as_the_apply_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*lines: str) -> list[str]:
        done = subprocess.CompletedProcess([], 0, "".join(f"{line}\n" for line in lines), "")
        monkeypatch.setattr(remote, "run", lambda ws, command, **given: done)
        return pci.read_cards(local(1))

    assert said("card 0000:01:00.1 0x040300", "card 0000:01:00.0 0x030000", "end") == ["0000:01:00.0"]
    assert said("end") == []
    assert said("card 0000:01:00.0 0x030000", "container", "end") == [], "a container does not see its host's cards"
    with pytest.raises(HoldfastError, match="PCI bus"):
        said("sh: not allowed")
    assert isinstance(pci.has_nvidia(), bool), "this computer's own bus can be read"


def readers(folder: Path) -> list[str]:
    """Where code of ``folder`` reads a machine by itself: a reader that is sent there, or a fact of its own."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and any("Fact" in ast.unparse(base) for base in node.bases):
                found.append(f"{path.name}: class {node.name}")
            elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                "program",
                "python_command",
            ):
                found.append(f"{path.name}: {ast.unparse(node.func)}()")
    return found


def test_the_command_line_has_no_reader_of_its_own() -> None:
    components = readers(ROOT / "src" / "holdfast" / "components")
    assert "facts.py: class TailnetNode" in components and "operations.py: program()" in components, (
        "the search is blind"
    )
    assert readers(ROOT / "src" / "holdfast" / "cli") == []
