"""The readers, run here as they are run on a host, against a `tailscale` program that the test writes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError

from holdfast.components.tailscale import facts
from holdfast.components.tailscale.node import Node, parse

STATUS = {"BackendState": "Running", "TUN": True, "Self": {"DNSName": "ws.tail.test.", "Online": True}}


def program(tmp_path: Path, *states: dict[str, Any] | str) -> list[str]:
    """A program that answers as tailscale: each of ``states`` for one `status`, then the last one; text is an error."""
    for number, state in enumerate(states):
        (tmp_path / f"status{number}").write_text(state if isinstance(state, str) else json.dumps(state))
    (tmp_path / "cli").write_text(
        f"""cd {tmp_path}
case "$*" in
"status --json --peers=false")
  n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count
  [ -e status$n ] || n={len(states) - 1}
  case $(cat status$n) in "{{"*) cat status$n ;; *) cat status$n >&2; exit 1 ;; esac ;;
"debug prefs") echo '{{"ControlURL": "https://hs.example", "AutoUpdate": {{"Check": true, "Apply": null}}, "Config": null}}' ;;
"get --json") echo '{{"ssh": false}}' ;;
"serve status --json") echo '{{}}' ;;
*) exit 9 ;;
esac
"""
    )
    return ["/bin/sh", str(tmp_path / "cli")]


def asked(tmp_path: Path) -> int:
    return int((tmp_path / "count").read_text())


def test_one_round_trip_has_it_all(tmp_path: Path) -> None:
    source = facts.TailnetNode.source(cli=program(tmp_path, STATUS), settle_s=0, label="")
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=source, capture_output=True, text=True)
    assert not done.stderr
    node = parse(facts.TailnetNode().process(done.stdout.splitlines()))
    assert (node.backend, node.name, node.control_url) == ("Running", "ws.tail.test", "https://hs.example")
    assert node.auto_update is None and node.preferences == {"ssh": False} and node.serve == {}


def test_where_nothing_is_installed() -> None:
    found = facts.read_node(["/nonexistent/tailscale"], 30, "")
    assert parse(found).backend == "" and "No such file" in found["problem"]


def test_a_daemon_that_does_not_run_is_told_by_its_own_words(tmp_path: Path) -> None:
    found = facts.read_node(program(tmp_path, "failed to connect to local tailscaled"), 30, "")
    node = parse({**found, "version": "1"})
    assert node.problem == "failed to connect to local tailscaled" and not node.backend
    assert asked(tmp_path) == 1, "an inactive unit must not be waited for"


def test_a_daemon_on_its_way_is_waited_for(tmp_path: Path) -> None:
    cli = program(tmp_path, {"BackendState": "NoState"}, {"BackendState": "Starting"}, STATUS)
    assert parse(facts.read_node(cli, 30, "")).backend == "Running" and asked(tmp_path) == 3


def test_and_not_where_nobody_wants_to_wait(tmp_path: Path) -> None:
    cli = program(tmp_path, {"BackendState": "Starting"}, STATUS)
    assert parse(facts.read_node(cli, 0, "")).backend == "Starting" and asked(tmp_path) == 1


def test_a_rename_is_waited_for(tmp_path: Path) -> None:
    renamed = {**STATUS, "Self": {"DNSName": "new.tail.test."}}
    cli = program(tmp_path, STATUS, renamed)
    assert parse(facts.read_node(cli, 0, "new")).name == "new.tail.test"


def test_nonsense_is_an_error_of_the_fact() -> None:
    with pytest.raises(FactProcessError):
        facts.TailnetNode().process(["Traceback"])
    assert parse(facts.TailnetNode().process(["null"])) == Node()


def test_the_repository_reader(tmp_path: Path) -> None:
    key, source, stale = tmp_path / "key.gpg", tmp_path / "a.sources", tmp_path / "a.list"
    bare = facts.read_repository(str(key), str(source), [str(stale)])
    assert (bare["keyring"], bare["source"], bare["stale"]) == ("", None, [])
    assert bare["release"].get("ID"), "this computer's own /etc/os-release"
    key.write_bytes(b"\x99key")
    source.write_text("Types: deb\n")
    stale.symlink_to("/nonexistent")
    found = facts.read_repository(str(key), str(source), [str(stale)])
    assert found["keyring"] == hashlib.sha256(b"\x99key").hexdigest()
    assert (found["source"], found["stale"]) == ("Types: deb\n", [str(stale)])
