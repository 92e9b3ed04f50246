"""A fresh join key, a fresh secret key and the administrator's password, followed through a plan and an apply.

They stand in no output, log, event, journal, argv, and in no file that everybody may read. Beside each search stands its
control: a word that is there is found.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.lab.holdfast_command import holdfast, pyinfra_words

from holdfast import depot
from holdfast.apply.run import environment
from holdfast.lab.control import Control
from holdfast.paths import ROOT, state_dir

LOOK = Path(__file__).with_name("secrets_look.py")
SECRET_KEY, PASSWORD = "/etc/holdfast/open-webui/secret.env", "/etc/holdfast/open-webui/admin-password"
NAMES = ("join key", "secret key", "old secret key", "password")


class Watcher(threading.Thread):
    """Reads every argv of this computer, again and again; the workstation's processes are among them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.rounds, self.on = 0, True

    def run(self) -> None:
        while self.on:
            for path in glob.glob("/proc/[0-9]*/cmdline"):
                try:
                    self.seen.add(Path(path).read_bytes())
                except OSError:
                    continue
            self.rounds += 1
            time.sleep(0.01)  # the apply needs the processor, too

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.on = False
        self.join()


@dataclass
class Told:
    """Everything that a plan and an apply have said, and what was seen of them."""

    machine: Any
    words: dict[str, str]
    planted: str
    plan: str = ""
    log: str = ""
    events: str = ""
    argv: bytes = b""
    places: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)


def with_everything_said(machine: Any, folder: Path) -> tuple[str, str]:
    """An apply by pyinfra itself at -vvv: (all that it printed, its events)."""
    unused, password = os.pipe()
    with (folder / "events").open("w+") as events:
        done = subprocess.run(
            pyinfra_words(machine.name, "-vvv", "-y"), env=environment(machine.name, None, events.fileno(), unused),
            pass_fds=[events.fileno(), unused], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        os.close(unused)
        os.close(password)
        events.seek(0)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout, events.read()


def planned(machine: Any) -> str:
    done = holdfast("plan", machine.name, "--set", "instances.coder.context=8192")
    assert done.returncode == 3, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def told(workstation: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The machine leaves the tailnet and loses its secret key; a plan says so, and an apply with a fresh key repairs it."""
    machine, planted = workstation, f"planted-{secrets.token_hex(12)}"
    machine.settled = False
    old = machine.root(f"cat {SECRET_KEY}").strip().rpartition("=")[2]
    machine.root(f"tailscale logout; rm {SECRET_KEY}")
    key_file = Path(machine.site()["tailscale"]["auth_key"]["file"])
    control = Control(machine.layout, machine.state().nonce, depot.path("headscale"))
    control.forget(machine.name)
    control.mint(key_file, tagged=True)
    found = Told(machine, {"join key": key_file.read_text().strip(), "old secret key": old}, planted)
    with Watcher() as watcher:
        found.plan = planned(machine)
        found.log, found.events = with_everything_said(machine, tmp_path_factory.mktemp("said"))
        machine.ssh(["sleep", "1", "||", "true", planted])
    # A rejoined tailscaled goes on listening on the address that it had before, until it is restarted (seen with 1.102.5).
    machine.root("systemctl restart tailscaled")
    machine.joined()
    assert watcher.rounds > 20, "the watcher was awake"
    found.argv = b"\n".join(watcher.seen)
    found.words["secret key"] = machine.root(f"cat {SECRET_KEY}").strip().rpartition("=")[2]
    found.words["password"] = machine.root(f"cat {PASSWORD}").strip()
    # Two plants for the search on the machine; written by stdin.
    machine.ssh(["tee", "/var/tmp/holdfast-test-planted"], input=planted)
    machine.ssh(["logger", "-t", "holdfast-test"], input=planted)
    given = f"WORDS = {found.words | {'planted': planted}!r}\nSINCE = {PASSWORD!r}\n"
    answer = machine.python(given + LOOK.read_text(), timeout=300)
    found.places, found.seen = answer["found"], answer["seen"]
    yield found
    machine.root("rm -f /var/tmp/holdfast-test-planted")
    machine.settle()


def test_these_are_the_secrets(told: Told) -> None:
    assert sorted(told.words) == sorted(NAMES)
    assert all(len(word) >= 20 for word in told.words.values())
    assert len(set(told.words.values())) == len(NAMES), "the secret key was made anew"


@pytest.mark.parametrize("name", NAMES)
def test_not_in_a_plan(told: Told, name: str) -> None:
    assert "OLLAMA_CONTEXT_LENGTH=8192" in told.plan, "a plan shows the content of files"
    assert "would change: Tailscale | " in told.plan and "Make Open WebUI's secrets" in told.plan
    assert told.words[name] not in told.plan


@pytest.mark.parametrize("name", NAMES)
def test_not_in_pyinfras_log(told: Told, name: str) -> None:
    assert "--auth-key=file:/dev/stdin" in told.log, "the log shows commands, the one that takes the key among them"
    assert "Make Open WebUI's secrets" in told.log
    assert told.words[name] not in told.log


@pytest.mark.parametrize("name", NAMES)
def test_not_in_an_event(told: Told, name: str) -> None:
    kinds = [json.loads(line)["event"] for line in told.events.splitlines()]
    assert "operation_end" in kinds and "note" in kinds
    assert "tailnet: " in told.events, "the events tell that it joins"
    assert told.words[name] not in told.events


@pytest.mark.parametrize("name", NAMES)
def test_not_in_an_argv(told: Told, name: str) -> None:
    assert told.planted.encode() in told.argv, "an argv on the machine is seen"
    assert b"--auth-key=file:/dev/stdin" in told.argv, "the command that took the key was seen"
    assert told.words[name].encode() not in told.argv


@pytest.mark.parametrize("name", NAMES)
def test_not_in_the_journal_or_a_file_for_everybody(told: Told, name: str) -> None:
    assert told.places["planted"] == ["/var/tmp/holdfast-test-planted", "journal"], "the search sees"
    assert told.seen["files"] > 100 and told.seen["journal"] > 10_000, told.seen
    assert told.places[name] == []


@pytest.mark.parametrize("name", NAMES)
def test_not_in_a_file_for_everybody_here(told: Told, name: str) -> None:
    planted = state_dir() / "logs" / "holdfast-test-planted"
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(told.planted)
    planted.chmod(0o644)
    try:
        assert holding(told.planted) == [planted], "the search sees"
    finally:
        planted.unlink()
    assert holding(told.words[name]) == []


def holding(word: str) -> list[Path]:
    """Files below the state folder that everybody may read and that hold the word; whatever lies above that folder."""
    found = []
    for folder, folders, names in os.walk(state_dir()):
        folders[:] = [n for n in folders if os.lstat(os.path.join(folder, n)).st_mode & stat.S_IXOTH]
        for path in (Path(folder, name) for name in names):
            st = path.lstat()
            if stat.S_ISREG(st.st_mode) and st.st_mode & stat.S_IROTH and word.encode() in path.read_bytes():
                found.append(path)
    return found


def test_the_machine_is_as_described_again(told: Told) -> None:
    assert told.machine.apply().changed == []
