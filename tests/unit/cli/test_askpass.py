"""sudo on the machine for programs other than pyinfra: the same question here and over ssh, and an end in any case."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("sudo", SUDO), ("ssh", SSH)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    return tmp_path / "said"


def box(local: bool) -> Any:
    return resolve({"name": "box", "profile": "cpu", "login_user": "ada", "tailscale": {"enabled": False}, "local": local})


@pytest.mark.parametrize("local", [True, False], ids=["local", "ssh"])
def test_sudo_is_asked_without_a_prompt_and_until_the_password_is_right(
    local: bool, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter(["wrong", "right"])
    monkeypatch.setattr(askpass, "Asker", lambda progress: lambda user, host, again: next(given))
    assert askpass._right_one(box(local), SimpleNamespace(), "ada", "") == "right"
    assert said.read_text().split() == ["<-k>", "<-S>", "<-p>", "<>", "<true>"] * 2


def test_three_wrong_ones_are_the_end(said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(askpass, "Asker", lambda progress: lambda user, host, again: "wrong")
    with pytest.raises(HoldfastError, match="did not get the right one"):
        askpass._right_one(box(True), SimpleNamespace(), "ada", "")
    assert said.read_text().count("<-k>") == 3


@pytest.mark.parametrize("script", ["echo /askpass; exec sleep 600", "echo /askpass; cat >/dev/null"], ids=["stuck", "well"])
def test_what_went_wrong_meanwhile_is_what_is_told(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    account = SimpleNamespace(sudo="password", user="ada", tmp="/tmp")
    monkeypatch.setattr("holdfast.apply.login.parse", lambda lines: account)
    monkeypatch.setattr(askpass.remote, "run", lambda *words, **more: SimpleNamespace(stdout=""))
    monkeypatch.setattr(askpass, "_right_one", lambda *words: "right")
    monkeypatch.setattr(askpass, "PATIENCE_S", 0.2)
    keeper = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    monkeypatch.setattr(askpass, "_start", lambda *words: keeper)
    with pytest.raises(KeyError, match="the real one"), askpass.answering(box(True), SimpleNamespace()) as (needed, env):
        assert needed and env == {"HOLDFAST_ASKPASS": "/askpass"}
        raise KeyError("the real one")
    assert keeper.returncode is not None
