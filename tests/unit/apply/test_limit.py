"""Plain pyinfra with words that match no host: an error before anything is connected."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.apply.limit import targets
from holdfast.apply.run import PYINFRA
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT

GROUPS: dict[str, Any] = {
    "all": [("left-box", {}), ("right-box", {}), ("@local", {})], "cpu": ["left-box", "@local"], "here": ["@local"],
}  # fmt: skip
EVERYONE = {"left-box", "right-box", "@local"}


@pytest.mark.parametrize(
    ("limit", "exclude", "left"),
    [
        ([], [], EVERYONE),
        (["all"], [], EVERYONE),
        (["inventory"], ["cpu"], {"right-box"}),
        (["left-box"], [], {"left-box"}),
        (["here"], [], {"@local"}),
        (["*-box"], [], {"left-box", "right-box"}),
        (["cpu", "right*"], ["left-box"], {"right-box", "@local"}),
    ],
)
def test_words_that_match(limit: list[str], exclude: list[str], left: set[str]) -> None:
    assert targets(GROUPS, limit, exclude) == left


@pytest.mark.parametrize(
    ("limit", "exclude", "word"),
    [
        (["nosuch"], [], "--limit 'nosuch'"),
        (["left-box", "nosuch*"], [], "--limit 'nosuch*'"),
        (["dual_3090"], [], "--limit 'dual_3090'"),
        ([], ["nosuch"], "--exclude 'nosuch'"),
        (["here"], ["cpu"], "leaves no host"),
    ],
)
def test_words_that_match_nobody(limit: list[str], exclude: list[str], word: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        targets(GROUPS, limit, exclude)
    assert word in caught.value.message
    assert caught.value.allowed == "hosts: left-box, right-box, @local; groups: all, cpu, here, inventory"
    assert caught.value.fix


def test_nobody_is_known() -> None:
    with pytest.raises(HoldfastError, match="no host is known"):
        targets({"all": []}, [], [])


@pytest.mark.parametrize(("limit", "refused"), [("nosuch", True), ("gpu-box", False)])
def test_the_program_itself(tmp_path: Path, limit: str, refused: bool) -> None:
    """The control is a known host that nothing answers for: it gets as far as connecting."""
    (tmp_path / "hosts.yml").write_text(
        "gpu-box: {profile: cpu, login_user: ada, ssh: {hostname: 127.0.0.1, port: 1}, tailscale: {enabled: false}}\n"
    )
    done = subprocess.run(
        [*PYINFRA, "inventory.py", "deploy.py", "--limit", limit, "-y"],
        cwd=ROOT, env={**os.environ, "HOLDFAST_HOSTS": str(tmp_path / "hosts.yml")}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert ("--limit 'nosuch' matches no host" in done.stderr) == refused
    assert ("hosts: gpu-box" in done.stderr and "Fix: name one of these" in done.stderr) == refused
    assert ("Connecting to hosts" in done.stderr) != refused
