"""Where models come from besides a registry, under the real systemd and its confinement: another Ollama's store, a depot;
and a download that nobody is connected to."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast import depot
from holdfast.cli import status
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError
from holdfast.lab import layout

from .test_cut_off import children

STORE = "/var/lib/holdfast/models"
# Nobody listens there: what is not on the machine stays away.
NOWHERE = f"http://{layout.WORKSTATION4}:9"
EMPTY = f"systemctl stop holdfast-models; rm -rf {STORE}/blobs/* {STORE}/manifests/* {STORE}/.fetch/*"
MADE = "/srv/whole /srv/depot /home/ada/.ollama /usr/share/ollama"
UNIT = "holdfast-models.service"


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    with workstation.lent() as machine:
        yield machine


@pytest.fixture
def whole(machine: Any) -> Iterator[str]:
    """A copy of the store as it is; afterwards it is back, whatever has become of it."""
    machine.root(f"rm -rf {MADE}; mkdir /srv/whole; cp -a {STORE}/blobs {STORE}/manifests /srv/whole/")
    yield "/srv/whole"
    machine.root(f"{EMPTY}; cp -a /srv/whole/blobs /srv/whole/manifests {STORE}/")
    machine.root(f"rm -rf {MADE}")


def journal(machine: Any, since: str) -> str:
    return str(machine.ssh(["sudo", "journalctl", "-u", UNIT, f"--since=@{since}", "-o", "cat", "--no-pager"]).stdout)


def now(machine: Any) -> str:
    return str(machine.ssh(["date", "+%s"]).stdout.strip())


def answer(machine: Any) -> None:
    for role in ("coder", "reasoner"):
        assert machine.state().models[role] in machine.says(role)


@pytest.mark.parametrize(
    ("home", "owner", "how"),
    [("/home/ada/.ollama/models", "ada:ada", "copied"), ("/usr/share/ollama/.ollama/models", "root:root", "linked")],
    ids=["a person's", "a service's"],
)
def test_models_of_another_ollama_are_taken_over(home: str, owner: str, how: str, machine: Any, whole: str) -> None:
    machine.root(f"mkdir -p {home}; cp -a {whole}/. {home}/; chown -R {owner} {home}; chmod -R go=rX {home}; {EMPTY}")
    before = machine.root(f"cd {home}; find . -type f -printf '%p %u %m %T@\\n' | sort; sha256sum blobs/*")
    since = now(machine)
    machine.apply({"models.registry": NOWHERE})
    told = journal(machine, since)
    assert told.count(how) >= 2 and home in told, told[-2000:]
    answer(machine)
    assert machine.root(f"cd {home}; find . -type f -printf '%p %u %m %T@\\n' | sort; sha256sum blobs/*") == before
    links = machine.root(f"stat -c %h {STORE}/blobs/* | sort -u").split()
    assert links == (["2"] if how == "linked" else ["1"])
    owners = machine.root(f"stat -c '%U %a' {STORE}/blobs/* | sort -u").splitlines()
    assert owners == ["root 644"], "nobody else can write to what was checked"


def test_without_another_ollama_there_is_nothing_to_take(machine: Any, whole: str) -> None:
    """The control: at that address there is really nobody."""
    machine.root(EMPTY)
    since = now(machine)
    with pytest.raises(Exception, match="models"):
        machine.apply({"models.registry": NOWHERE, "models.patience_s": 5})
    assert "adopted" not in journal(machine, since)


def test_models_of_a_depot_on_the_machine(machine: Any, whole: str) -> None:
    """A folder, as from a disk that was carried there: the puller then has no network at all."""
    machine.root("mkdir -p /srv/depot/models")
    packed = subprocess.Popen(["tar", "-C", str(depot.root()), "-cf", "-", "."], stdout=subprocess.PIPE)
    argv = ["ssh", "-F", str(machine.layout.ssh_config), machine.name, "sudo", "tar", "-C", "/srv/depot", "-xf", "-"]
    subprocess.run(argv, stdin=packed.stdout, check=True, timeout=300)
    assert packed.wait() == 0
    machine.root(f"rm -rf /srv/depot/models; cp -a {whole} /srv/depot/models; {EMPTY}")
    machine.apply({"depot": "/srv/depot", "models.registry": "depot"})
    answer(machine)
    assert machine.ssh(["systemctl", "show", "-p", "PrivateNetwork", "--value", UNIT]).stdout.strip() == "yes"
    assert machine.apply({"depot": "/srv/depot", "models.registry": "depot"}).changed == []


# What the puller itself would have read at its start, had somebody taken back the limit.
UNLIMITED = f'sed -i \'s/"limit": [0-9.]*/"limit": 0/\' /etc/holdfast/models.json; systemctl restart --no-block {UNIT}'


class Watched(Shown):
    """A person at `status --watch`; when bytes are seen first, the rest may come at once."""

    def __init__(self, machine: Any) -> None:
        super().__init__()
        self.machine, self.told, self.pid = machine, [], 0  # type: ignore[var-annotated]

    def bytes(self, done: int, total: int | None, label: str) -> None:
        self.told.append((done, total, label))
        if not self.pid:
            self.pid = self.machine.main_pid(UNIT)
            self.machine.root(UNLIMITED)


def test_a_download_outlives_the_connection_and_is_found_again(machine: Any, whole: str) -> None:
    """`up` shows bytes, rate and time left; its connection is cut; the same process goes on, and `status --watch` finds it."""
    machine.root(EMPTY)
    shown: list[dict[str, Any]] = []

    def cut(event: dict[str, Any]) -> None:
        if event["event"] == "bytes" and "left" in event["label"] and not shown:
            shown.append(event)
            for pyinfra in children(os.getpid(), "pyinfra_cli"):
                for pid in children(pyinfra):
                    os.kill(pid, signal.SIGKILL)

    since = now(machine)
    with pytest.raises(HoldfastError):
        machine.apply({"models.limit_mib_s": 0.15}, heard=cut)
    assert shown and 0 < shown[0]["done"] < shown[0]["total"] and "MiB/s" in shown[0]["label"]
    puller = machine.main_pid(UNIT)
    assert puller

    person = Watched(machine)
    outcome = status.run(argparse.Namespace(host=machine.name, facts=None, watch=True), person)
    assert outcome.code == 0, outcome.data["findings"]
    assert person.pid == puller, "it was there all the time"
    done, total, label = person.told[0]
    assert shown[0]["done"] <= done < total == shown[0]["total"] and "MiB/s" in label and "left" in label
    ends = [json.loads(line) for line in journal(machine, since).splitlines() if line.startswith('{"event": "done"')]
    assert max(end["resumed_at"] for end in ends) > 0, "the restart cost nothing"
    assert all(entry["state"] == "present" for entry in outcome.data["models"]["models"].values())
