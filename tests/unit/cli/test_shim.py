"""./holdfast itself: what it makes is made once, and again when it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast.paths import ROOT

# `uv venv … .venv` makes the two things that the shim asks of a Python; every start is noted.
UV = """#!/bin/sh
echo "$1" >>uv-started
case "$*" in
    "venv --help") echo "  --clear" ;;
    venv*)
        mkdir -p .venv/bin site
        printf '#!/bin/sh\\n[ "$1" = -c ] && echo site || echo "started $*"\\n' >.venv/bin/python
        chmod +x .venv/bin/python ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "locks/python").mkdir(parents=True)
    for name in ("locks/python/uv.txt", "locks/python/holdfast.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    shutil.copy(ROOT / "holdfast", tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/uv").write_text(UV)
    (tmp_path / "tools/uv").chmod(0o755)
    return tmp_path


def start(checkout: Path) -> tuple[str, int]:
    """What it prints, and how often uv has made a venv up to now."""
    env = {**os.environ, "PATH": f"{checkout}/tools:{os.environ['PATH']}", "HOME": str(checkout)}
    done = subprocess.run([checkout / "holdfast", "status"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), (checkout / "uv-started").read_text().split().count("pip")


def test_the_environment_is_made_once_and_again_when_it_is_broken_or_out_of_date(checkout: Path) -> None:
    assert start(checkout) == ("started -m holdfast status", 1)
    assert start(checkout) == ("started -m holdfast status", 1)
    (checkout / ".venv/bin/python").unlink()
    assert start(checkout) == ("started -m holdfast status", 2)
    (checkout / "pyproject.toml").write_text("new")
    assert start(checkout) == ("started -m holdfast status", 3)
