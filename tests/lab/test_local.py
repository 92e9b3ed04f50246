"""`@local`: a checkout on the workstation itself, as its owner has it, sees and repairs the machine that it stands on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.depot import record
from holdfast.paths import ROOT

NAME = "here"


@pytest.fixture(scope="module")
def here(workstation: Any) -> Iterator[Any]:
    """The workstation with a checkout in the login user's home, and hosts.yml that says it is the machine itself."""
    workstation.settle()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    packed = subprocess.run(["tar", "--null", "-cf", "-", "-T", "-"], cwd=ROOT, input=files, capture_output=True, check=True)
    unpack = "rm -rf checkout && mkdir -p checkout && tar -xf - -C checkout"
    argv = ["ssh", "-F", workstation.state().ssh_config, workstation.name, unpack]
    subprocess.run(argv, input=packed.stdout, check=True, timeout=120)
    site = workstation.site()
    (ca,), key = site["base"]["ca_certificates"], site["tailscale"]["auth_key"]["file"]
    block = {key: value for key, value in site.items() if key != "ssh"} | {
        "local": True,
        "base": {"ca_certificates": [f"../{Path(ca).name}"]},
        "tailscale": {**site["tailscale"], "auth_key": {"file": "../join.key"}},
    }
    # What the depot has built here is known to its own record only.
    for path, text in (
        (Path(ca).name, Path(ca).read_text()), ("join.key", Path(key).read_text()),
        (".cache/holdfast/built.json", record.record_file().read_text()), ("checkout/hosts.yml", json.dumps({NAME: block})),
    ):  # fmt: skip
        done = workstation.ssh(f"umask 077 && mkdir -p $(dirname {path}) && cat > {path}", input=text)
        assert done.returncode == 0, done.stderr
    yield workstation
    workstation.ssh("rm -rf checkout join.key .cache/holdfast")


def say(machine: Any, words: str) -> Any:
    """The JSON that `./holdfast WORDS` prints there."""
    done = machine.ssh(f"cd checkout && ./holdfast {words} --json", timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_what_is_right_is_left_alone_and_what_is_not_is_repaired(here: Any) -> None:
    here.root("systemctl stop ollama@coder")
    pending = here.ssh("cd checkout && ./holdfast plan @local --json", timeout=400)
    assert pending.returncode == 3, pending.stderr[-3000:]
    assert json.loads(pending.stdout)["pending"] == ["Ollama | Run the coder", "Ollama | Wait for the coder"]
    found = say(here, "up @local --no-verify")
    assert (found["host"]["name"], found["host"]["ssh_config"], found["changes"]) == (NAME, None, 1)
    assert here.state().models["coder"] in here.says("coder")
    assert say(here, "plan @local")["pending"] == []
