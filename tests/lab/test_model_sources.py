"""Where models come from besides a registry, under the real systemd and its confinement: another Ollama's store, a depot."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast import depot
from holdfast.lab import layout

STORE = "/var/lib/holdfast/models"
# Nobody listens there: what is not on the machine stays away.
NOWHERE = f"http://{layout.WORKSTATION4}:9"
EMPTY = f"systemctl stop holdfast-models; rm -rf {STORE}/blobs/* {STORE}/manifests/* {STORE}/.fetch/*"
MADE = "/srv/whole /srv/depot /home/ada/.ollama /usr/share/ollama"
UNIT = "holdfast-models.service"


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    workstation.settle()
    yield workstation
    workstation.settled = False
    workstation.settle()


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
