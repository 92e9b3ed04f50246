"""Another model for a role: whoever asks the old one is answered until the new one has answered; nobody is told before."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.lab.holdfast_command import as_json, holdfast
from tests.waiting import until

from holdfast.errors import HoldfastError
from holdfast.lab.models import chain, layout, roles, tiny_gguf

STEADY = (Path(__file__).parent / "steady.py").read_text("utf-8")
NEW, BROKEN = "other-coder:7b", "broken-coder:7b"
CHANGE = "Models: change | Let new models answer before they take over"
SWITCH, DONE = "Ollama | Write Ollama's environments", "Open WebUI"
CLIENTS = "cat /etc/holdfast/aider/*.yml /etc/holdfast/open-webui/*.env"
SERVER = "cat /etc/holdfast/ollama/coder.env; systemctl show -p MainPID,NRestarts ollama@coder"
SWEEP = "/usr/bin/python3 -I /usr/local/lib/holdfast/holdfast_onhost/models_sweep.py /etc/holdfast/models.json"
FOLDERS = "/etc/holdfast /var/lib/holdfast/ollama /var/cache/holdfast/ollama /run/holdfast/ollama"
LEFT = f"find {FOLDERS} -name 'next.*'; systemctl list-units -q 'ollama@next.*'"
# As Ollama's registry answers a client that is too old (server/images.go).
OLD_CLIENT = """
import http.server
class Refuse(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(412); self.send_header("Content-Length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 5412), Refuse).serve_forever()
"""


def offer(machine: Any, name: str, path: Path) -> dict[str, Any]:
    """The lab's registry has the model from now on; the two settings that change the coder to it."""
    digest = layout.add(machine.layout.models, name, path, num_thread=1)
    return {"instances.coder.model": name, "models.pins": {**machine.settings.models.pins, name: digest}}


def withdraw(machine: Any, name: str) -> None:
    model, _, tag = name.partition(":")
    (machine.layout.models / "manifests" / "library" / model / tag).unlink()


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    with workstation.lent() as machine:
        yield machine
    workstation.root(SWEEP)


@pytest.fixture
def another(machine: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Another file that says what the checks expect of a coder, with the word tools in its template, as the real one's."""
    turns = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    template = f"{turns}{{% if tools %}}{{{{ tools }}}}{{% endif %}}assistant:<|talk|>"
    tiny_gguf.write(tmp_path / "new.gguf", "lab-other", chain.answers({"talk": roles.CODER_SAYS}, "talk"), template)
    yield offer(machine, NEW, tmp_path / "new.gguf")
    withdraw(machine, NEW)


@pytest.fixture
def broken(machine: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A file like any other, of an architecture that no server knows."""
    roles.write_coder(tmp_path / "good.gguf")
    (tmp_path / "bad.gguf").write_bytes((tmp_path / "good.gguf").read_bytes().replace(b"llama", b"llamx"))
    yield offer(machine, BROKEN, tmp_path / "bad.gguf")
    withdraw(machine, BROKEN)


@dataclass
class Stream:
    """What a client heard that has asked the coder's model all the time: (began, ended, status, text) each."""

    machine: Any
    heard: list[tuple[float, float, int, str]]

    def __enter__(self) -> Stream:
        one = self.machine.settings.instances["coder"]
        self._program = self.machine.open([shlex.join(["python3", "-c", STEADY, str(one.port), one.model])])
        self._said = self.machine.state().models["coder"]
        return self

    def __exit__(self, *error: object) -> None:
        out, _ = self._program.communicate(timeout=240)
        self.heard = [tuple(one) for one in json.loads(out)]

    def failed(self) -> list[tuple[float, float, int, str]]:
        return [one for one in self.heard if one[2] != 200 or self._said not in one[3]]


def test_a_model_that_does_not_answer_changes_nothing(machine: Any, broken: dict[str, Any]) -> None:
    before = machine.root(f"{CLIENTS}; {SERVER}")
    with Stream(machine, []) as client, pytest.raises(HoldfastError) as told:
        machine.apply(broken)
    assert BROKEN in told.value.message and "does not answer as coder" in told.value.message, told.value.message
    assert "still in service" in told.value.fix
    assert len(client.heard) > 2 and client.failed() == []
    assert machine.root(f"{CLIENTS}; {SERVER}") == before, "neither the server nor a client was touched"
    assert machine.root(LEFT) == ""
    # The server said why, and that can be read where the Fix sends one.
    assert "llamx" in machine.root("journalctl -u ollama@next.coder -n 200 --no-pager -o cat")


def test_a_model_that_wants_a_newer_ollama_names_the_pin(machine: Any, another: dict[str, Any]) -> None:
    before = machine.root(f"{CLIENTS}; {SERVER}")
    machine.root(f"systemd-run -q --collect --unit=too-old python3 -c {shlex.quote(OLD_CLIENT)}")
    try:
        until(lambda: "412" in machine.ssh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:5412/").stdout, "it answers")
        with pytest.raises(HoldfastError) as told:
            machine.apply({**another, "models.registry": "http://127.0.0.1:5412"})
    finally:
        machine.root("systemctl stop too-old")
    assert "HTTP 412" in told.value.message and "newer Ollama" in told.value.message, told.value.message
    assert "artifacts.ollama.version" in told.value.fix and "locks/artifacts.yml" in told.value.fix
    assert machine.root(f"{CLIENTS}; {SERVER}") == before
    assert machine.state().models["coder"] in machine.says("coder")


def test_the_old_model_is_in_service_until_the_new_one_has_answered(machine: Any, another: dict[str, Any]) -> None:
    began: dict[str, float] = {}
    known = machine.root(CLIENTS)

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "operation":
            began.setdefault(event["name"], time.time())

    # Slow enough for the download to be seen.
    values = {**another, "models.limit_mib_s": 2}
    with Stream(machine, []) as client:
        result = machine.apply(values, heard)
    assert CHANGE in result.changed
    switch = began[SWITCH]
    done = min(at for name, at in began.items() if name.startswith(DONE))
    during = [one for one in client.heard if one[0] > began[CHANGE] and one[1] < switch]
    assert len(during) > 2, "it was asked while the new one was fetched and tried"
    assert [one for one in client.failed() if one[1] < switch] == [], "nobody was turned away"
    assert [one for one in client.failed() if one[0] > done] == [], "nor once its server runs again"
    assert client.heard[-1][0] > done
    assert NEW not in known and NEW in machine.root(CLIENTS)
    assert machine.root(LEFT) == ""
    answer = machine.ssh(
        "curl -sS -m 120 -d @- http://127.0.0.1:11434/api/generate",
        input=json.dumps({"model": NEW, "prompt": "Who are you?", "stream": False}), timeout=150,
    )  # fmt: skip
    assert roles.CODER_SAYS in json.loads(answer.stdout)["response"]
    assert machine.apply(values).changed == []
    found = holdfast("verify", machine.name, "--json", HOLDFAST_SET=json.dumps({"host": machine.name, "values": values}))
    assert as_json(found)["failures"] == [], found.stdout[-3000:]
