"""Another release of Ollama: the servers go over to it one after the other, each serving until then; and the way back."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import until

from holdfast import depot
from holdfast.depot import lock

from .second_release import Second, make

OPT = "/opt/ollama"
STOP = "/run/holdfast-upgrade-watch"
ROLES = ("coder", "reasoner")
CHANGES = {"Ollama | Install Ollama", "Ollama | Run the coder", "Ollama | Run the reasoner"}
WATCH = (Path(__file__).parent / "upgrade_watch.py").read_text("utf-8")
# Every file of the vendor's in a release's folder; our own tree beside it has the same program by a second name.
HASHES = "cd %s; find . -path ./serve -prune -o -type f -print0 | sort -z | xargs -0 sha256sum"


@dataclass
class Change:
    """What was seen while an apply went from the release in the folder ``before`` to another one."""

    second: Second
    before: str
    hashes: str
    changed: list[str] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)

    def versions(self, role: str) -> list[tuple[float, float, str]]:
        return [(began, ended, found[role]) for began, ended, found in self.seen["looks"]]


def watched(machine: Any, action: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """What ``action`` returns, and what upgrade_watch.py saw meanwhile."""
    instances = {role: [i.port, i.model] for role, i in machine.settings.instances.items()}
    words = json.dumps({"instances": instances, "stop": STOP})
    seen: list[dict[str, Any]] = []
    machine.root(f"rm -f {STOP}")
    source = f"import sys\nsys.argv = ['watch', {words!r}]\n{WATCH}"
    watch = threading.Thread(target=lambda: seen.append(machine.python(source, timeout=400)))
    watch.start()
    try:
        return action(), seen
    finally:
        machine.root(f"touch {STOP}")
        watch.join()
        machine.root(f"rm {STOP}")


def current(machine: Any) -> str:
    return str(machine.ssh(["readlink", f"{OPT}/current"]).stdout.strip())


def folders(machine: Any) -> set[str]:
    return set(machine.ssh(["ls", "-A", OPT]).stdout.split())


def programs(machine: Any) -> dict[str, str]:
    """The file that each server runs."""
    return {role: machine.root(f"readlink /proc/{machine.main_pid(f'ollama@{role}')}/exe").strip() for role in ROLES}


@pytest.fixture(scope="module")
def change(workstation: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Change]:
    workstation.settle()
    place = f"second-{workstation.name}"
    try:
        second = make(place, tmp_path_factory.mktemp("second"))
        before = current(workstation)
        made = Change(second, before, workstation.root(HASHES % f"{OPT}/{before}"))
        workstation.settled = False
        made.changed, seen = watched(
            workstation, lambda: second.apply(workstation.name, workstation.logs / "second.log")
        )
        (made.seen,) = seen
        yield made
    finally:
        shutil.rmtree(depot.root() / place, ignore_errors=True)
        workstation.settle()


def test_each_server_goes_over_once_and_they_never_stand_still_together(change: Change) -> None:
    old, new = lock.pin("ollama").version, change.second.version
    for role in ROLES:
        told = [version for _, _, version in change.versions(role) if version]
        assert told == sorted(told, key=[old, new].index) and set(told) == {old, new}, role
    both = [found for _, _, found in change.seen["looks"]]
    assert not [found for found in both if not any(found.values())], "one of them answers all the time"
    assert {"coder": new, "reasoner": old} in both, "the second goes on with the old one until the first is there"


def test_requests_fail_only_where_their_own_server_is_exchanged(change: Change) -> None:
    old, new = lock.pin("ollama").version, change.second.version
    for role in ROLES:
        last_old = max(began for began, _, version in change.versions(role) if version == old)
        first_new = min(ended for _, ended, version in change.versions(role) if version == new)
        asked = [one for one in change.seen["asked"] if one["role"] == role]
        wrong = [a for a in asked if a["problem"] and (a["ended"] < last_old or a["began"] > first_new)]
        assert not wrong, (role, last_old, first_new, wrong)
        served = [a for a in asked if not a["problem"]]
        assert any(a["ended"] < last_old for a in served) and any(a["began"] > first_new for a in served)
    reasoner = [a for a in change.seen["asked"] if a["role"] == "reasoner" and not a["problem"]]
    switched = min(ended for _, ended, version in change.versions("coder") if version == new)
    until_then = max(began for began, _, version in change.versions("reasoner") if version == old)
    assert until_then > switched and any(a["ended"] < until_then for a in reasoner)


def test_the_new_tree_stands_and_the_one_before_is_kept_untouched(change: Change, workstation: Any) -> None:
    assert set(change.changed) >= CHANGES
    new, root = change.second.folder, f"{OPT}/{change.second.folder}"
    assert current(workstation) == new
    assert folders(workstation) == {new, change.before, "current"}, (
        "the one before stays for the way back, and no other"
    )
    assert programs(workstation) == dict.fromkeys(ROLES, f"{root}/serve/bin/ollama")
    assert workstation.root(HASHES % f"{OPT}/{change.before}") == change.hashes
    # Beside the vendor's: one file by two names, and every library but llama-server a link to it.
    assert len(set(workstation.root(f"stat -c %i {root}/bin/ollama {root}/serve/bin/ollama").split())) == 1
    theirs, ours = (set(workstation.root(f"ls {root}{below}/lib/ollama").split()) for below in ("", "/serve"))
    assert theirs | {"llama-server"} == ours
    for role in ROLES:
        assert workstation.state().models[role] in workstation.says(role)
    # The real llama-server is the new release's, too.
    running = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -e ' --model ' || true; done"
    real = [line for line in workstation.root(running).splitlines() if "supervisor.py" not in line]
    assert real and all(root in line and change.before not in line for line in real), real


def test_a_second_apply_has_nothing_to_do_and_verify_is_green(change: Change, workstation: Any) -> None:
    assert change.second.apply(workstation.name, workstation.logs / "second.log") == []
    found = change.second.verify(workstation.name, only="test_ollama")
    assert found["failed"] == 0 and found["passed"] > 10
    # By the new release's hashes: a record that does not know them would leave these out.
    assert not [s for s in found["skipped"] if "vendor" in s["name"] or "binary" in s["name"]], found["skipped"]


def test_the_way_back_takes_what_is_there(change: Change, workstation: Any) -> None:
    marker = f"stat -c '%i %Y' {OPT}/{change.before}/.holdfast-release"
    made = workstation.root(marker)
    changed = workstation.apply().changed
    assert set(changed) >= CHANGES
    assert workstation.root(marker) == made, "nothing was unpacked again"
    assert current(workstation) == change.before
    assert workstation.root(HASHES % f"{OPT}/{change.before}") == change.hashes
    assert programs(workstation) == dict.fromkeys(ROLES, f"{OPT}/{change.before}/serve/bin/ollama")
    for role in ROLES:
        until(lambda role=role: workstation.state().models[role] in workstation.says(role), f"the {role} answers", 60)
