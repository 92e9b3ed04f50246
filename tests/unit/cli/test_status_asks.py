"""`status` where sudo asks for a password: asked by the process that draws on the terminal, once, and told to nobody else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pexpect
import pytest

from holdfast.cli import reading
from holdfast.cli.password import Asker
from holdfast.cli.show import Shown
from holdfast.paths import ROOT

PASSWORD = "Canary-9c1e p'w\"$x"
# This computer as one where ada's sudo asks. sudo takes the password as the real one does, by stdin (-S) or from the askpass
# program (-A), and leaves its words and its environment.
ID = '#!/bin/sh\n[ "$1" = -u ] && echo 1000 || echo ada\n'
SUDO = """#!/bin/sh
{ echo "argv: $*"; env; } >>"$SAID"
while [ $# -gt 0 ]; do case "$1" in
  -n) exit 1;;
  -A) asks=1; shift;;
  -S) asks=2; shift;;
  -p) shift 2;;
  -*) shift;;
  *) break;;
esac; done
case "$asks" in 1) password=$("$SUDO_ASKPASS");; 2) IFS= read -r password;; esac
[ "$password" = "$(cat "$(dirname "$0")/right")" ] || exit 1
exec "$@"
"""
QUIET_S = 1.0  # a spinner draws ten times a second
CHILD = """
import json, os, sys
def ask(again):
    os.write(int(os.environ["HOLDFAST_EVENTS"]), json.dumps(
        {"event": "sudo_password", "user": "ada", "host": "box", "again": again}).encode() + b"\\n")
    line = b""
    while not line.endswith(b"\\n"):
        line += os.read(int(os.environ["HOLDFAST_SUDO_FD"]), 1)
    return line.decode()[:-1]
print("x" * 300000)
print(json.dumps([ask(False), ask(True), sys.stdin.read()]))
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a command line whose only host is this computer."""
    for name, text in (("id", ID), ("sudo", SUDO)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "right").write_text(PASSWORD)
    block = {"profile": "cpu", "login_user": "ada", "local": True, "tailscale": {"enabled": False}}
    (tmp_path / "hosts.yml").write_text(json.dumps({"box": block}))
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(tmp_path / "said"), "XDG_CACHE_HOME": str(tmp_path / "c")}
    return {**os.environ, **own, "HOLDFAST_HOSTS": str(tmp_path / "hosts.yml"), "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm"}


def test_the_question_stands_alone_and_is_asked_once(machine: dict[str, str], tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "holdfast", "status", "box"], cwd=str(ROOT), env=machine, timeout=120, encoding="utf-8"
    )
    try:
        child.expect_exact("sudo password of ada on box (kept nowhere): ")
        assert "look" in str(child.before), "no spinner was there to redraw the line"
        assert child.expect([r"[^\s]", pexpect.TIMEOUT], timeout=QUIET_S) == 1, f"drawn over: {child.before!r}{child.after!r}"
        child.sendline("wrong")
        child.expect_exact("That was not it. sudo password of ada on box (kept nowhere): ")
        child.sendline(PASSWORD)
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    screen = str(child.before)
    assert "room on /" in screen, screen
    assert "sudo password" not in screen and "Canary" not in screen
    said = (tmp_path / "said").read_text()
    assert said.count("argv: -k -S -p  true") == 2, "tried once for each answer"
    assert "SUDO_ASKPASS=" in said and "Canary" not in said




def test_an_answer_goes_to_whoever_asked_and_the_subprocess_has_no_terminal() -> None:
    asked: list[tuple[str, str, bool]] = []

    def ask(user: str, host: str, again: bool) -> str:
        asked.append((user, host, again))
        return "right" if again else "wrong"

    done = reading.asked([sys.executable, "-c", CHILD], "box", ask)
    assert json.loads(done.stdout.splitlines()[-1]) == ["wrong", "right", ""], done.stderr
    assert asked == [("ada", "box", False), ("ada", "box", True)]


def test_a_person_who_gives_up_leaves_nothing_running() -> None:
    def ask(user: str, host: str, again: bool) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reading.asked([sys.executable, "-c", CHILD], "box", ask)


def test_what_was_answered_is_not_asked_again_until_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status --watch` makes a connection for each look."""
    typed = ["first", "second"]
    monkeypatch.setattr("holdfast.cli.password.os.open", lambda *_: os.dup(0))
    monkeypatch.setattr("holdfast.cli.password.getpass.getpass", lambda prompt: typed.pop(0))
    asker = Asker(Shown())
    assert [asker("ada", "box", again) for again in (False, False, True, False)] == ["first", "first", "second", "second"]
    assert typed == []
