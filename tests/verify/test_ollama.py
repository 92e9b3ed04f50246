"""The Ollama servers: what really runs, what it listens on, what it may reach, and that the models answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.verify.cards import require, uuids
from tests.verify.environment import NEVER, wrong
from tests.verify.locks import artifact_version, members
from tests.verify.machine import Listeners, Machine, Shape, assert_confined, assert_on_cards

Files = Callable[..., dict[str, Any]]

# llama-server's port is lent by the kernel while a model is loaded (net.ipv4.ip_local_port_range).
LENT = 32768
# What stands in llama-server's place, on the machine's own Python.
SUPERVISOR = ["/usr/bin/python3", "-IS", "/usr/local/lib/holdfast/holdfast_onhost/lease/supervisor.py"]


def staying(shape: Shape) -> list[str]:
    """The roles whose model is still there after its answer; with keep_alive 0 it is gone before anybody can look."""
    return [role for role, instance in shape.instances.items() if not instance.keep_alive.startswith("0")]


def left_out(shape: Shape, lasting: list[str]) -> None:
    """At a check's end: where it could look at no model at all, it says so."""
    if not lasting:
        pytest.skip(f"keep_alive is 0 for {', '.join(shape.instances)}: each model is gone before anybody can look")


def test_units_are_active_and_enabled(units: dict[str, Any], shape: Shape) -> None:
    states = {u: (units[u]["ActiveState"], units[u]["SubState"], units[u]["UnitFileState"]) for u in shape.ollama_units}
    assert states == dict.fromkeys(shape.ollama_units, ("active", "running", "enabled"))


def test_version_is_as_pinned(answers: dict[str, Any], shape: Shape) -> None:
    found = {role: answers[role]["version"]["json"].get("version") for role in shape.instances}
    assert found == dict.fromkeys(shape.instances, artifact_version("ollama"))


def test_running_binary_is_the_depots(units: dict[str, Any], shape: Shape) -> None:
    """The bytes that run, by /proc/PID/exe: a file that was replaced under a running server shows, too."""
    known = members("ollama", shape.depot)
    for unit in shape.ollama_units:
        assert units[unit]["main"], f"{unit} has no main process"
        assert units[unit]["main"]["sha256"] == known["bin/ollama"], f"{unit} runs {units[unit]['main']['exe']}"
    for unit in shape.ollama_units:
        for process in units[unit]["processes"]:
            ours = process["argv"][:3] == SUPERVISOR and process["exe"].startswith("/usr/bin/python3")
            assert ours or process["sha256"] in known.values(), f"{unit} has a process of another origin: {process['exe']}"


def test_vendors_files_are_the_depots(files: Files, shape: Shape) -> None:
    """All of them, also those that our tree links to; nothing beside them but our tree and the mark of a whole release."""
    known = members("ollama", shape.depot)
    root = "/opt/ollama/current"
    found = files(f"{root}/", hashes=True, below=True)
    hashes = {path.removeprefix(f"{root}/"): entry.get("sha256") for path, entry in found.items() if entry["kind"] == "file"}
    theirs = {path: digest for path, digest in hashes.items() if path != ".holdfast-release" and not path.startswith("serve/")}
    wrong = sorted(path for path in theirs.keys() | known.keys() if theirs.get(path) != known.get(path))
    fix = "sudo rm /opt/ollama/current/.holdfast-release, then ./holdfast up HOST unpacks it anew"
    assert not wrong, f"not as in the depot: {wrong[:5]}; Fix: {fix}"
    assert hashes.get("serve/bin/ollama") == known["bin/ollama"], "the units' own tree has another ollama"


def test_supervisor_stands_where_ollama_starts_its_server(files: Files, machine: Machine) -> None:
    root = "/opt/ollama/current/serve/lib/ollama"
    found = {path.removeprefix(f"{root}/"): entry for path, entry in files(f"{root}/", below=True).items()}
    server = found.pop("llama-server", None) or {"kind": "nothing"}
    assert (server["kind"], server.get("mode"), server.get("user")) == ("file", "0755", "root"), f"llama-server there is {server}"
    last = machine.sh("tail -n 1 %s", f"{root}/llama-server").stdout.strip()
    assert last == f'exec {" ".join(SUPERVISOR)} "$@"'
    links = {name: entry.get("target") for name, entry in found.items() if name}
    assert links and links == {name: f"../../../lib/ollama/{name}" for name in links}, f"not the vendor's: {links}"


def test_whoever_answers_holds_its_leases(leases: dict[str, Any], shape: Shape) -> None:
    """Its supervisor and the real llama-server have them, and nobody else has any of them open."""
    lasting = staying(shape)
    for role, instance in shape.instances.items():
        seen = leases["asked"][role]
        assert seen["status"] == 200, f"{role}: {seen['status']}"
        if role not in lasting:
            continue
        unit = f"ollama@{role}.service"
        own = {name: seen["held"].get(name, []) for name in instance.lease}
        assert own == {name: [[unit, "server"], [unit, "supervisor"]] for name in instance.lease}, f"{role} has {seen['held']}"
    left_out(shape, lasting)


def test_leases_are_the_instances_own(leases: dict[str, Any], shape: Shape) -> None:
    """Who could open one could lock it, and nobody would ever get the card again; the holder's name is for all to read."""
    shared = [name for i in shape.instances.values() for name in i.lease]
    expected = {"/run/holdfast/lease", *(f"/run/holdfast/lease/{name}.lease" for name in shared)}
    assert expected <= leases["files"].keys(), "nobody has made the leases"
    wrong = []
    for path, (kind, mode, user, _) in leases["files"].items():
        if path.endswith("/prefer"):
            wanted = ("file", "0644", "root")  # sudo holdfast-gpu prefer
        elif path.endswith((".lease", ".holder")) or ".queue/" in path:
            wanted = ("file", "0644" if path.endswith(".holder") else "0600", "ollama")
        else:
            wanted = ("folder", "0755", "ollama")
        if (kind, mode, user) != wanted:
            wrong.append(f"{path}: {(kind, mode, user)}")
    assert not wrong, "; ".join(wrong)


def test_person_can_ask_who_holds_what(leases: dict[str, Any], machine: Machine, shape: Shape) -> None:
    """holdfast-gpu, as the login user."""
    done = machine.sh("runuser -u %s -- holdfast-gpu status --json", shape.login_user)
    assert done.rc == 0, f"holdfast-gpu: {done.stdout}{done.stderr}"
    found = {gpu["name"]: gpu["holder"] for gpu in json.loads(done.stdout)["gpus"]}
    for name in {name for i in shape.instances.values() for name in i.lease}:
        assert found.get(name) in ("", *(r for r, i in shape.instances.items() if name in i.lease)), f"{name}: {found}"


@pytest.mark.promise("The models' own interfaces can be reached from this machine only")
def test_listens_on_loopback_only(listeners: Listeners, shape: Shape) -> None:
    for role, instance in shape.instances.items():
        unit = f"ollama@{role}.service"
        found = listeners.of(unit)
        assert f"127.0.0.1:{instance.port}" in found, f"{unit} does not listen on its port: {found}"
        lent = {where for where in found if where.startswith("127.0.0.1:") and int(where.rpartition(":")[2]) >= LENT}
        extra = found - {f"127.0.0.1:{instance.port}"} - lent
        assert not extra, f"{unit} also listens on {sorted(extra)}"
        assert not listeners.of(unit, "udp"), f"{unit} listens on UDP {listeners.of(unit, 'udp')}"


def test_environment_is_as_promised(units: dict[str, Any], shape: Shape) -> None:
    for role in shape.instances:
        found = wrong(role, shape, units[f"ollama@{role}.service"]["environment"])
        assert not found, f"ollama@{role}, not as promised: {', '.join(found)}: it has {found}"


def test_nothing_in_the_environment_leads_out(units: dict[str, Any], shape: Shape) -> None:
    for role in shape.instances:
        running = units[f"ollama@{role}.service"]["environment"]
        assert "OLLAMA_HOST" in running, "the reader sees no environment"
        assert not [key for key in NEVER if key in running], f"ollama@{role}: {running}"


def test_runs_without_privileges(units: dict[str, Any], shape: Shape) -> None:
    for unit in shape.ollama_units:
        for process in units[unit]["processes"]:
            found = {k: process[k] for k in ("user", "capabilities", "no_new_privileges", "filtered")}
            assert found == {"user": "ollama", "capabilities": 0, "no_new_privileges": True, "filtered": True}, f"{unit}: {found}"
        assert units[unit]["processes"], f"{unit} has no process"


def test_each_model_answers(answers: dict[str, Any], shape: Shape, expected: dict[str, str]) -> None:
    for role, instance in shape.instances.items():
        given = answers[role]["generate"]
        assert given["status"] == 200, f"{role} ({instance.model}): {given['problem']}"
        # This prompt goes in as it is, so a reasoner's thoughts come in the answer.
        said = re.sub(r"<think>.*?</think>", "", given["json"].get("response", ""), flags=re.DOTALL).strip()
        if role in expected:
            assert said == expected[role], f"{role} says {said!r}"
        else:
            # A reasoner may use up the tokens that this question allows while it is still thinking.
            assert said or given["json"].get("thinking"), f"{role} answers nothing"


def test_context_is_as_declared(answers: dict[str, Any], shape: Shape) -> None:
    lasting = staying(shape)
    for role in lasting:
        instance = shape.instances[role]
        loaded = {m["name"]: m.get("context_length") for m in answers[role]["loaded"]["json"].get("models", [])}
        assert loaded == {instance.model: instance.context}, f"{role} holds {loaded}"
    left_out(shape, lasting)


@pytest.mark.promise("Models have no internet, and no way to this machine's network")
def test_models_have_no_internet(confined: dict[str, Any], shape: Shape) -> None:
    assert_confined(confined, shape.ollama_units)


def test_cloud_is_off(answers: dict[str, Any], shape: Shape) -> None:
    for role in shape.instances:
        assert answers[role]["status"]["json"].get("cloud", {}).get("disabled") is True, answers[role]["status"]


@pytest.mark.promise("No web page that you open can talk to the models behind your back")
def test_foreign_pages_are_refused(answers: dict[str, Any], shape: Shape) -> None:
    for role in shape.instances:
        assert answers[role]["version"]["status"] == 200, f"{role} answers nobody: {answers[role]['version']}"
        assert answers[role]["foreign_host"] == 403, f"{role} takes a request for another host's name"
        assert answers[role]["foreign_origin"] == 403, f"{role} takes a request from another page"


def test_all_of_the_model_is_on_the_cards(answers: dict[str, Any], shape: Shape, cards: dict[str, Any]) -> None:
    lasting = staying(shape)
    for role in lasting:
        if shape.instances[role].gpus:
            require(cards, shape, role)
            assert_on_cards(role, shape.instances[role].model, answers[role]["loaded"]["json"].get("models", []))
    left_out(shape, lasting)


def test_servers_see_exactly_their_cards(units: dict[str, Any], shape: Shape, cards: dict[str, Any]) -> None:
    for role in shape.instances:
        wanted = ",".join(uuids(cards, shape, role))
        environment = units[f"ollama@{role}.service"]["environment"]
        found = environment.get("CUDA_VISIBLE_DEVICES")
        assert environment.get("HOLDFAST_GPUS") == wanted, f"ollama@{role} supervised by {environment.get('HOLDFAST_GPUS')}"
        assert found == wanted, f"ollama@{role} sees {found}"
        assert re.fullmatch(r"(GPU-[0-9a-f-]{36},?)+", found or ""), found
