"""A sudo that asks for a password: asked once, and seen by nobody: a third user watches every argv while it is used."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml

from holdfast.lab import Lab
from holdfast.paths import ROOT

from .holdfast_command import environment, words

PASSWORD = "Canary-sudo-7f3a p'w\"$x"
# What stands for the password in a search: quoting may change the rest of it.
CANARY, CONTROL = "Canary-sudo-7f3a", "Canary-control-7f3a"
SAMPLER = Path(__file__).with_name("argv_sampler.py")
BETWEEN_S = 0.003  # two looks: no program ends sooner than it is loaded, and there are processors to share

_USERS = """
for user in bea eve; do id $user >/dev/null 2>&1 || useradd --create-home --shell /bin/bash $user; done
echo 'bea ALL=(ALL) ALL' >/etc/sudoers.d/bea && chmod 440 /etc/sudoers.d/bea
install -d -m 700 -o bea -g bea /home/bea/.ssh
install -m 600 -o bea -g bea /home/ada/.ssh/authorized_keys /home/bea/.ssh/authorized_keys
"""
_NO_USERS = "pkill -KILL -u bea; pkill -KILL -u eve; for user in bea eve; do userdel -rf $user; done; rm -f /etc/sudoers.d/bea"


@pytest.fixture(scope="module")
def hosts(workstation: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """hosts.yml in which the machine is reached as bea, whose sudo asks."""
    done = workstation.ssh(["sudo", "sh", "-s"], input=f"{_USERS}chpasswd <<'END'\nbea:{PASSWORD}\nEND\n")
    assert done.returncode == 0, done.stderr
    site = workstation.site()
    block = {**site, "ssh": {**site["ssh"], "user": "bea", "hostname": workstation.name}}
    file = tmp_path_factory.mktemp("asks") / "hosts.yml"
    file.write_text(yaml.safe_dump({"asks": block}))
    yield {"HOLDFAST_HOSTS": str(file)}
    workstation.ssh(["sudo", "sh", "-s"], input=_NO_USERS)


class Eve:
    """The third user, watching."""

    def __init__(self, workstation: Lab) -> None:
        source = SAMPLER.read_text()
        workstation.ssh(["sudo", "-u", "eve", "tee", "/home/eve/sampler.py"], input=source)
        command = ["ssh", "-F", workstation.state().ssh_config, workstation.name, "sudo -u eve python3 /home/eve/sampler.py"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{CANARY}\n{CONTROL}\n\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "watching\n"

    def saw(self) -> dict[str, list[str]]:
        out, _ = self._process.communicate("\n", timeout=60)
        found: dict[str, list[str]] = json.loads(out)
        return found


class Here(threading.Thread):
    """The same on this computer."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.on, self.seen = True, set[str]()

    def run(self) -> None:
        while self.on:
            time.sleep(BETWEEN_S)
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                self.seen |= {word for word in (CANARY, CONTROL) if word in text}


def up(hosts: dict[str, str], answers: list[str], *more: str) -> tuple[int, str]:
    """`up` in a terminal; see typed."""
    return typed(hosts, answers, "up", "asks", "--no-verify", *more)


def typed(hosts: dict[str, str], answers: list[str], *verb: str) -> tuple[int, str]:
    """A verb in a terminal; the answers typed when asked. Exit code and all that was on the screen."""
    command = words(*verb)
    child = pexpect.spawn(command[0], command[1:], cwd=str(ROOT), env=environment(**hosts), timeout=400, encoding="utf-8")
    screen = ""
    for answer in answers:
        child.expect("sudo password of bea on asks")
        screen += str(child.before)
        child.expect(": ")
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    return int(child.exitstatus if child.exitstatus is not None else -1), screen + str(child.before)


def test_the_password_is_asked_once_and_seen_by_nobody(workstation: Lab, hosts: dict[str, str]) -> None:
    eve, here = Eve(workstation), Here()
    here.start()
    code, screen = up(hosts, [PASSWORD])
    # The controls: what does stand in an argv is seen, there and here.
    workstation.ssh(["sh", "-c", f"'sleep 2; : {CONTROL}'"])
    here.on = False
    here.join()
    saw = eve.saw()
    assert code == 0, screen
    assert "sudo password" not in screen
    assert CANARY not in screen
    assert saw[CONTROL] == ["cmdline"]
    assert saw[CANARY] == []
    assert here.seen == {CONTROL}
    left = workstation.ssh(["sudo", "sh", "-s"], input=_search()).stdout.split()
    assert left == [], "the password lies in a file on the machine"
    from holdfast.paths import state_dir

    log = state_dir() / "logs" / "up-asks.log"
    assert "Beginning operation run" in log.read_text()
    assert CANARY not in log.read_text()


def _search() -> str:
    """Files and journal of the machine; the pattern is taken apart so that this search does not find itself."""
    half = len(CANARY) // 2
    pattern = f"printf %s%s {CANARY[:half]} {CANARY[half:]}"
    return f"""
{pattern} >/var/tmp/pattern
for place in /home /root /tmp /run/user /var/log /etc; do grep -rlsaF -f /var/tmp/pattern $place; done
journalctl --no-pager -o cat --since -1h | grep -qaF -f /var/tmp/pattern && echo journal
rm -f /var/tmp/pattern
"""


@pytest.mark.parametrize("answers", [["wrong", PASSWORD], ["wrong", "wrong", "wrong"], [""]])
def test_a_wrong_one_is_asked_again_and_giving_up_is_one_clear_error(hosts: dict[str, str], answers: list[str]) -> None:
    code, screen = up(hosts, answers)
    assert (code == 0) == (answers[-1] == PASSWORD), screen
    if code:
        assert "asks bea for a password" in screen
        assert "Fix: " in screen
        assert "Starting operation" not in screen
    assert "Traceback" not in screen


@pytest.mark.parametrize("verb", [["up", "asks", "--no-verify"], ["status", "asks"]], ids=["up", "status"])
def test_without_a_terminal_it_is_an_error_before_anything_is_changed(verb: list[str], hosts: dict[str, Any]) -> None:
    """And not a prompt that hangs, nor getpass's traceback."""
    done = subprocess.run(
        ["setsid", "--wait", *words(*verb)], cwd=ROOT, env=environment(**hosts),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "no password was given" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Fix: ")


def test_status_asks_once_too(hosts: dict[str, str]) -> None:
    _, screen = typed(hosts, [PASSWORD], "status", "asks")
    assert "room on /" in screen, screen
    assert screen.count("sudo password") == 0 and CANARY not in screen
