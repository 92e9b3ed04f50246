"""A person who runs `init`, and the machine that it looks at."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.cli import init, init_file
from holdfast.cli.show import Plain
from holdfast.fit.slot import Slot

OTHER = "# mine\nother:  # a word\n  profile: cpu\n  login_user: ada\n  tailscale: {enabled: false}\n"
Seen = Callable[..., None]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.delenv("HOLDFAST_SET", raising=False)
    return tmp_path / "hosts.yml"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The machine has just these cards."""

    def machine(*found: Slot, user: str = "ada") -> None:
        ssh = {"hostname": "10.0.0.1"}
        monkeypatch.setattr(
            init, "look", lambda args, name: {"slots": found, "user": user, "ssh": ssh, "local": args.host == "@local"}
        )

    return machine


def arguments(host: str = "box", **given: Any) -> Any:
    return SimpleNamespace(
        **{
            "host": host,
            "name": "",
            "ssh": "",
            "login_user": "",
            "yes": False,
            "cards": [],
            "update": False,
            "json": False,
        }
        | given
    )


def started(host: str = "box", **given: Any) -> Any:
    return init.run(arguments(host, **given), Plain(io.StringIO(), every_s=0))


def terminal(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """A person who gives these answers; returns the questions."""
    asked: list[str] = []
    left = list(answers)
    monkeypatch.setattr(init_file, "can_ask", lambda: True)
    monkeypatch.setattr(init_file, "ask", lambda question, progress: asked.append(question) or left.pop(0))
    return asked
