"""./holdfast itself: what it makes is made once, and again when it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from holdfast import apt
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


def start(checkout: Path, before: str = "") -> tuple[str, int]:
    """What it prints, and how often uv has made a venv up to now."""
    path = f"{before}:{checkout}/tools:/usr/bin:/bin"
    env = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"} | {"PATH": path, "HOME": str(checkout)}
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


def test_the_environment_has_the_uv_that_made_it_also_where_it_is_activated(checkout: Path) -> None:
    start(checkout)
    uv = checkout / ".venv/bin/uv"
    assert uv.read_text() == UV and not uv.is_symlink()
    uv.unlink()
    assert start(checkout) == ("started -m holdfast status", 2), "an environment without it is not whole"
    # It is never taken for a uv of the person's own: it goes away with the environment.
    (checkout / "pyproject.toml").write_text("new")
    (checkout / "tools/uv").unlink()
    cached = checkout / ".cache/holdfast"
    number = subprocess.run(["cksum"], input="locks/python/uv.txt", capture_output=True, text=True, check=True).stdout.split()[0]
    (cached / f"uv-{number}/bin").mkdir(parents=True)
    pinned = cached / f"uv-{number}/bin/uv"
    pinned.write_text(UV + "# the pinned one\n")
    pinned.chmod(0o755)
    start(checkout, before=f"{checkout}/.venv/bin")
    assert uv.read_text() == pinned.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_may_use_a_checkout_and_is_told_when_it_is_not_ready(checkout: Path) -> None:
    start(checkout)
    for folder in (checkout, *checkout.parents):
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", checkout / "holdfast", "status"]
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(as_nobody, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("started -m holdfast status\n", 0), done.stderr
    (checkout / "pyproject.toml").write_text("new")
    done = subprocess.run(as_nobody, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "may not write there" in done.stderr and done.stderr.splitlines()[-1].startswith("Fix: ")


def test_the_shim_drives_apt_as_all_of_holdfast_does() -> None:
    text = (ROOT / "holdfast").read_text()
    assert apt.exports() in text
    for word in apt.words("install", wait_s=300):
        assert word in text, word


def uv_run(folder: Path) -> subprocess.CompletedProcess[str]:
    """`uv run` of the environment's own uv in ``folder``, for a person who has no uv, without the network."""
    path = f"{Path(sys.prefix, 'bin')}:/usr/bin:/bin"
    env = {"PATH": path, "HOME": str(folder), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "cache")}
    words = ["uv", "run", "python", "-c", "import sys, pyinfra; print(sys.prefix)"]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_uv_run_takes_the_environment_as_the_lock_made_it(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = uv_run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).resolve() == Path(sys.prefix).resolve()
    assert not (tmp_path / "uv.lock").exists()
    # The positive control: a project that uv manages is resolved anew, which needs the network.
    text = (tmp_path / "pyproject.toml").read_text()
    assert "managed = false" in text
    (tmp_path / "pyproject.toml").write_text(text.replace("managed = false", "managed = true"))
    (tmp_path / ".venv").unlink()
    assert uv_run(tmp_path).returncode != 0
