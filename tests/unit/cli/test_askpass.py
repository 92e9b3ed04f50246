"""sudo on the machine for programs other than pyinfra: the same question here and over ssh, and an end in any case."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.apply.channel import LocalChannel
from holdfast.apply.login import Account
from holdfast.cli import askpass
from holdfast.errors import HoldfastError
from holdfast.settings.loader import resolve

# Each try leaves its words, one a line; only `right` is taken.
SUDO = """#!/bin/sh
for word in "$@"; do echo "<$word>"; done >>"$SAID"
read -r password && [ "$password" = right ]
"""
# What sshd does with the last word.
SSH = '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec sh -c "$1"\n'
ONE_TRY = ["<-k>", "<-S>", "<-p>", "<>", "<true>"]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sudo and an ssh of the test's own; what sudo was called with. The account is one whose sudo asks."""
    for name, text in (("sudo", SUDO), ("ssh", SSH)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.setattr("holdfast.apply.login.parse", lambda lines: Account("ada", "password", str(tmp_path)))
    (tmp_path / "said").touch()
    return tmp_path / "said"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the person types when asked; what is left has not been asked for."""
    left: list[str] = []
    monkeypatch.setattr(askpass, "Asker", lambda progress: lambda user, host, again: left.pop(0))
    return left


def box(local: bool = True) -> Any:
    return resolve({"name": "box", "profile": "cpu", "login_user": "ada", "tailscale": {"enabled": False}, "local": local})


def answer(local: bool, given: str = "") -> Iterator[str]:
    """What the askpass program says while `answering` is open; at its end the program must be gone."""
    with askpass.answering(box(local), SimpleNamespace(), given) as (needed, env):
        assert needed
        yield subprocess.run([env["HOLDFAST_ASKPASS"]], capture_output=True, text=True, timeout=30, check=True).stdout
    assert not Path(env["HOLDFAST_ASKPASS"]).parent.exists()


@pytest.mark.parametrize("local", [True, False], ids=["local", "ssh"])
def test_sudo_is_asked_without_a_prompt_and_until_the_password_is_right(local: bool, said: Path, typed: list[str]) -> None:
    typed += ["wrong", "right"]
    assert list(answer(local)) == ["right\n"]
    assert said.read_text().split() == ONE_TRY * 2
    assert typed == []


def test_a_password_that_is_known_is_not_asked_for_again(said: Path, typed: list[str]) -> None:
    typed += ["right"]
    assert list(answer(True, "right")) == ["right\n"] and typed == ["right"]
    assert list(answer(True, "no longer")) == ["right\n"] and typed == []
    assert said.read_text().split() == ONE_TRY * 3


@pytest.mark.parametrize(
    ("answers", "tries", "words"), [(["wrong"] * 4, 3, "3 wrong passwords"), ([""], 0, "no password was given")]
)
def test_giving_up_is_one_error(said: Path, typed: list[str], answers: list[str], tries: int, words: str) -> None:
    typed += answers
    with pytest.raises(HoldfastError, match=f"asks ada for a password: {words}"):
        list(answer(True))
    assert said.read_text().split() == ONE_TRY * tries


def test_a_machine_that_has_gone_is_no_wrong_password(said: Path, typed: list[str], tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text('#!/bin/sh\ncase "$*" in *sudo*) echo "ssh: it has gone" >&2; exit 255;; esac\n')
    typed += ["right"]
    with pytest.raises(HoldfastError, match="could not be tried: ssh: it has gone"):
        list(answer(False))


@pytest.mark.parametrize("script", ["echo /askpass; exec sleep 600", "echo /askpass; cat >/dev/null"], ids=["stuck", "well"])
def test_what_went_wrong_meanwhile_is_what_is_told(
    script: str, said: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers: list[LocalChannel] = []

    def keep(*words: Any) -> tuple[LocalChannel, str]:
        keepers.append(LocalChannel(script))
        return keepers[0], keepers[0].receive(30) or ""

    typed += ["right"]
    monkeypatch.setattr("holdfast.apply.sudo.keep", keep)
    monkeypatch.setattr(askpass, "PATIENCE_S", 0.2)
    with pytest.raises(KeyError, match="the real one"), askpass.answering(box(), SimpleNamespace()) as (needed, env):
        assert needed and env == {"HOLDFAST_ASKPASS": "/askpass"}
        raise KeyError("the real one")
    assert not keepers[0].alive()
