"""operations/venv: built beside, switched by one link, whatever was cut off before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.components.open_webui import files
from holdfast.errors import HoldfastError
from holdfast.operations.venv import lock_key, venv, wanted
from holdfast.paths import LOCKS

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"

FAKE_UV = """#!/bin/sh
case "$*" in
  venv*) for last; do :; done; mkdir -p "$last/bin"; ln -s %s "$last/bin/python" ;;
  "pip sync"*) [ ! -e %s ] || exit 1; grep -q . "$VIRTUAL_ENV/requirements.txt"; echo "$*" > "$VIRTUAL_ENV/synced" ;;
esac
"""


@pytest.fixture
def bench(tmp_path: Path, apply: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Apply a lock with the given text, by a uv that makes an environment with this test's own interpreter."""
    uv, lock = tmp_path / "uv", tmp_path / "lock.txt"
    uv.write_text(FAKE_UV % (sys.executable, tmp_path / "no-network"))
    uv.chmod(0o755)
    monkeypatch.setattr("holdfast.operations.venv.SUPPORTED", (HERE,))

    def run(text: str, finish: str = "") -> int:
        lock.write_text(text)
        return apply(venv, lock=lock, dest=str(tmp_path / "opt"), python=sys.executable, uv=str(uv), finish=finish)

    return run


def environments(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "opt").iterdir() if p.is_dir() and not p.is_symlink())


def test_builds_once_with_hashes_checked(tmp_path: Path, bench: Callable[..., int]) -> None:
    assert bench("a==1\n") > 0
    words = (tmp_path / "opt/current/synced").read_text()
    for flag in ("--require-hashes", "--only-binary :all:", "--compile-bytecode", "--system-certs"):
        assert flag in words
    assert os.readlink(tmp_path / "opt/current") == f"{lock_key(tmp_path / 'lock.txt')}-py{HERE}"
    assert bench("a==1\n") == 0


def test_a_new_lock_switches_keeps_the_one_before_and_drops_older_ones(
    tmp_path: Path, bench: Callable[..., int]
) -> None:
    for text in ("a==1\n", "a==2\n", "a==3\n"):
        bench(text)
    previous, current = (os.readlink(tmp_path / "opt" / name) for name in ("previous", "current"))
    assert environments(tmp_path) == sorted([previous, current])
    assert (tmp_path / "opt" / previous / "requirements.txt").read_text() == "a==2\n"
    assert bench("a==3\n") == 0
    assert bench("a==2\n") > 0  # the way back needs no build
    assert os.readlink(tmp_path / "opt/current") == previous


@pytest.mark.parametrize("damage", [".complete", "requirements.txt"])
def test_an_environment_that_is_not_whole_is_no_way_back(damage: str, tmp_path: Path, bench: Callable[..., int]) -> None:
    bench("a==1\n")
    current = tmp_path / "opt" / os.readlink(tmp_path / "opt/current")
    (current / damage).unlink()
    if damage == "requirements.txt":
        (current / damage).write_text("another==1\n")
    assert bench("a==2\n") > 0
    assert environments(tmp_path) == [os.readlink(tmp_path / "opt/current")]
    assert not os.path.lexists(tmp_path / "opt/previous")
    assert bench("a==2\n") == 0
    bench("a==3\n")
    (tmp_path / "opt/previous/.complete").unlink()
    assert bench("a==3\n") > 0
    assert not os.path.lexists(tmp_path / "opt/previous")
    assert bench("a==3\n") == 0


def test_a_failed_build_leaves_the_one_in_use(tmp_path: Path, bench: Callable[..., int]) -> None:
    bench("a==1\n")
    before = os.readlink(tmp_path / "opt/current")
    (tmp_path / "no-network").touch()
    with pytest.raises(subprocess.CalledProcessError):
        bench("a==2\n")
    assert os.readlink(tmp_path / "opt/current") == before
    (tmp_path / "no-network").unlink()
    assert bench("a==2\n") > 0
    assert (tmp_path / "opt/current/requirements.txt").read_text() == "a==2\n"
    assert bench("a==2\n") == 0


@pytest.mark.parametrize("damage", ["no marker", "no interpreter", "no link"])
def test_what_was_cut_off_is_made_whole(tmp_path: Path, bench: Callable[..., int], damage: str) -> None:
    bench("a==1\n")
    current = tmp_path / "opt" / os.readlink(tmp_path / "opt/current")
    {"no marker": current / ".complete", "no interpreter": current / "bin/python", "no link": tmp_path / "opt/current"}[
        damage
    ].unlink()
    assert bench("a==1\n") > 0
    assert (tmp_path / "opt/current/.complete").exists()
    assert subprocess.run([tmp_path / "opt/current/bin/python", "-c", ""]).returncode == 0
    assert bench("a==1\n") == 0


def test_a_missing_uv_says_who_installs_it(tmp_path: Path, apply: Callable[..., int]) -> None:
    (tmp_path / "lock.txt").write_text("a==1\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        apply(venv, lock=tmp_path / "lock.txt", dest=str(tmp_path / "opt"), uv=str(tmp_path / "uv"))
    told = caught.value.stderr.splitlines()
    assert told[0].startswith("error: ") and told[-1].startswith("Fix: ") and "base component" in told[-1]


def test_a_missing_lock_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match="Fix: git checkout"):
        lock_key(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "asked, found, name, interpreter",
    [
        ("python3", "3.11", "k-py3.11", "python3"),
        ("python3", "3.12", "k-py3.12", "python3"),
        ("python3", "3.13", "k-py3.12", "3.12"),  # Debian 13: too new for both programs
        ("python3", "3.10", "k-py3.12", "3.12"),
        ("python3", "", "k-py3.11", "python3"),  # a bare machine, in a plan
        ("3.12", "", "k-py3.12", "3.12"),
        ("3.12", "3.12", "k-py3.12", "3.12"),
    ],
)
def test_which_interpreter(asked: str, found: str, name: str, interpreter: str) -> None:
    assert wanted("k", asked, found) == (name, interpreter)


@pytest.mark.parametrize("lock", ["open-webui", "aider", "uv"])
def test_locks_pin_by_hash_and_name_no_address(lock: str) -> None:
    text = (LOCKS / "python" / f"{lock}.txt").read_text()
    pins = [line for line in text.splitlines() if line and line[0] not in "# "]
    assert pins and all("==" in line and line.endswith("\\") for line in pins)
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    if lock == "open-webui":
        left_out = set((LOCKS / "python" / "open-webui.excludes").read_text().split())
        assert not left_out & {line.split("==")[0] for line in pins}


def test_what_finishes_it_runs_inside_and_belongs_to_it(bench: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"."):
        bench("open-webui==1\n", "false")
    made = tmp_path / "opt" / f"{lock_key(tmp_path / 'lock.txt')}-py{HERE}"
    assert made.is_dir() and not (made / ".complete").exists(), "one that is not finished is none"
    assert bench("open-webui==1\n", "ls bin > 'what is there'") > 0
    assert (made / "what is there").read_text() == "python\n" and (made / ".complete").exists()
    assert bench("open-webui==1\n", "false") == 0


def test_the_five_newest_releases_are_read_at_a_start(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "open_webui").mkdir(parents=True)
    releases = [f"## [0.{n}.0] - 2026-01-01\n\n### Added\n\n- ## [not one]\n" for n in range(9, 0, -1)]
    (packages / "open_webui" / "CHANGELOG.md").write_text("# Changelog\n\n" + "".join(releases))
    subprocess.run(["sh", "-euc", files.RECENT_CHANGES], cwd=tmp_path, check=True)
    assert (packages.parent / "CHANGELOG.md").read_text() == "# Changelog\n\n" + "".join(releases[:5])
