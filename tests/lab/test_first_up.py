"""`./holdfast up` without a word: what it says of the machine that it has made, to scripts and to people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.lab import layout

from .holdfast_command import holdfast

INSTANCES = [
    {"name": "coder", "model": "qwen2.5-coder:32b", "url": "http://127.0.0.1:11434", "gpus": ["left"]},
    {"name": "reasoner", "model": "deepseek-r1:70b", "url": "http://127.0.0.1:11435", "gpus": ["left", "right"]},
]


@pytest.fixture(scope="module")
def first(workstation: Any) -> dict[str, Any]:
    return dict(workstation.first)


def test_the_machine_and_the_ways_to_it(first: dict[str, Any], workstation: Any) -> None:
    host = first["host"]
    assert host["name"] == workstation.name
    assert host["lan"] == {
        "ipv4": layout.WORKSTATION4, "ipv6": layout.WORKSTATION6, "link_local": layout.WORKSTATION_LINK_LOCAL,
    }  # fmt: skip
    assert host["tailnet"] == workstation.joined() and host["tailnet"]["ipv4"].startswith("100.")
    done = workstation.ssh(["id", "-un"])
    assert done.stdout == "ada\n" and host["ssh_config"] == workstation.state().ssh_config


def test_what_runs_on_it(first: dict[str, Any], workstation: Any) -> None:
    assert first["instances"] == INSTANCES
    web = first["open_webui"]
    assert web["url"] == f"http://{first['host']['tailnet']['name']}" and "@" in web["admin_email"]
    assert len(workstation.root(f"cat {web['password_file']}").strip()) >= 16
    assert first["fit"].keys() == {"coder", "reasoner"}


def test_the_networks_beside_it_are_there(first: dict[str, Any], workstation: Any) -> None:
    assert {"neighbour", "phone", "laptop"} <= first["namespaces"].keys()
    for node in ("neighbour", "phone", "laptop"):
        inside = workstation.run_in(node, ["stat", "-Lc", "%i", "/proc/self/ns/net"]).stdout
        assert int(inside) == Path("/run/netns", first["namespaces"][node]).stat().st_ino
        assert int(inside) != Path("/proc/self/ns/net").stat().st_ino


def test_what_was_done_and_how_long_it_took(first: dict[str, Any], workstation: Any) -> None:
    assert first["changes"] > 20 or not workstation.was_bare
    assert {"depot", "apply", "answers", "verify", "apply: Ollama", "apply: Open WebUI"} <= first["seconds"].keys()
    assert all(isinstance(spent, float | int) and spent >= 0 for spent in first["seconds"].values())
    assert {built["name"] for built in first["built_here"]} <= {"ollama", "tailscale", "headscale"}
    assert first["verify"]["skipped"] and all(one["reason"] for one in first["verify"]["skipped"])


def test_a_person_reads_the_same(first: dict[str, Any], workstation: Any) -> None:
    done = holdfast("up", "--no-verify", HOLDFAST_LAB=workstation.name)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    for one in INSTANCES:
        assert all(word in said for word in (str(one["name"]), str(one["model"]), str(one["url"])[-5:]))
    assert first["open_webui"]["url"] in said and first["open_webui"]["password_file"] in said
    assert f"ssh -F {first['host']['ssh_config']}" in said
    assert f"ip netns exec {first['namespaces']['phone']}" in said
    assert "changes:    0 of " in said and "apply" in said.partition("seconds:")[2]
