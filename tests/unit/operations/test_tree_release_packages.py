"""Shipping a folder, switching a release, choosing packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.operations import release
from holdfast.operations.packages import install_script, missing
from holdfast.operations.release import read_release, switch_script
from holdfast.operations.tree import read_tree, sources, write_tree


def test_a_tree_is_mirrored_and_strangers_go(tmp_path: Path) -> None:
    src, dest = tmp_path / "src", str(tmp_path / "dest")
    (src / "deep").mkdir(parents=True)
    (src / "a.py").write_text("1\n")
    (src / "deep" / "b.py").write_text("2\n")
    write_tree(dest, sources(src))
    first = read_tree(dest)
    assert set(first) == {"a.py", "deep/b.py"}
    (tmp_path / "dest" / "stranger.py").write_text("evil")
    (tmp_path / "dest" / "a.py").chmod(0o666)
    assert read_tree(dest) != first
    write_tree(dest, sources(src))
    assert read_tree(dest) == first
    assert not os.path.exists(dest + ".holdfast-new") and not os.path.exists(dest + ".holdfast-old")


def unpacked(folder: Path, name: str) -> str:
    """A folder as unpack_script leaves it."""
    sha = hashlib.sha256(name.encode()).hexdigest()
    path = folder / f"{name}-{sha[:12]}"
    path.mkdir()
    (path / ".holdfast-release").write_text(sha + "\n")
    return path.name


def switch(folder: Path, name: str) -> list[str]:
    """What is there after it."""
    subprocess.run(["sh", "-c", switch_script(name, str(folder))], check=True)
    assert read_release(str(folder), name)["current"] == name
    return sorted(p.name for p in folder.iterdir())


def test_switching_keeps_the_release_before_and_removes_older_ones(tmp_path: Path) -> None:
    assert switch(tmp_path, one := unpacked(tmp_path, "1")) == [one, "current"]
    assert switch(tmp_path, two := unpacked(tmp_path, "2")) == [one, two, "current"]
    assert switch(tmp_path, three := unpacked(tmp_path, "3")) == [two, three, "current"]


def test_a_release_that_runs_stays(tmp_path: Path) -> None:
    switch(tmp_path, one := unpacked(tmp_path, "1"))
    shutil.copy(shutil.which("sleep") or "", tmp_path / one / "server")
    with subprocess.Popen([tmp_path / "current" / "server", "100"]) as server:
        switch(tmp_path, two := unpacked(tmp_path, "2"))
        assert switch(tmp_path, three := unpacked(tmp_path, "3")) == sorted([one, two, three, "current"])
        server.kill()
    assert switch(tmp_path, four := unpacked(tmp_path, "4")) == sorted([three, four, "current"])


@pytest.mark.parametrize("damage", ["no marker", "half a marker", "another's marker", "a copy by hand"])
def test_a_release_that_is_not_whole_is_no_way_back(damage: str, tmp_path: Path) -> None:
    old, marker = unpacked(tmp_path, "1"), ".holdfast-release"
    switch(tmp_path, old)
    if damage == "no marker":
        (tmp_path / old / marker).unlink()
    elif damage == "half a marker":
        (tmp_path / old / marker).write_text((tmp_path / old / marker).read_text()[:12])
    elif damage == "another's marker":
        (tmp_path / old / marker).write_text("a" * 64)
    else:
        (tmp_path / old).rename(tmp_path / "0.0.1")
        (tmp_path / "current").unlink()
        (tmp_path / "current").symlink_to("0.0.1")
    new = unpacked(tmp_path, "2")
    assert switch(tmp_path, new) == sorted([new, "current"])


def test_an_equal_version_of_another_origin_does_not_touch_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest, seen = tmp_path / "opt", []
    monkeypatch.setattr(release, "DOWNLOADS", str(tmp_path))
    # In place of the fetcher: the archive lies there already.
    monkeypatch.setattr(release, "FETCH", "true")
    for content in ("built here", "official"):
        (tmp_path / "program").write_text(content)
        subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "ollama.tar", "program"], check=True)
        sha = hashlib.sha256((tmp_path / "ollama.tar").read_bytes()).hexdigest()
        artifact: Any = SimpleNamespace(version="1", sha256=sha, filename="ollama.tar", size=1, url="http://x/")
        script = release.unpack_script(artifact, str(dest))
        assert script.index("sync -f") < script.index(".holdfast-release")
        subprocess.run(["sh", "-c", script], check=True)
        if seen:
            assert (dest / "current" / "program").read_text() == seen[-1]
        name = release.folder(artifact)
        assert read_release(str(dest), name)["marker"] == sha
        switch(dest, name)
        assert (dest / "current" / "program").read_text() == content
        seen.append(content)
    assert len([p for p in dest.iterdir() if not p.is_symlink()]) == 2


def test_versions_are_pinned_exactly() -> None:
    have = {"curl": "8", "tailscale": "1.102.5"}
    assert missing(["curl", "tailscale=1.102.5"], have) == []
    assert missing(["curl", "tailscale=1.104", "zstd"], have) == ["tailscale=1.104", "zstd"]


def test_an_edited_configuration_file_asks_nothing_of_nobody(tmp_path: Path) -> None:
    """Whichever program it is that configures packages: the repair after a cut, or apt."""
    log = tmp_path / "log"
    for name, answer in (("dpkg", 'case "$*" in *audit*) echo broken;; esac'), ("apt-get", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n{answer}\n')
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", install_script(["curl"], 60)], check=True, env=env)
    repair, install = (next(line for line in log.read_text().splitlines() if w in line) for w in ("--configure", "install"))
    for line in (repair, install):
        assert "--force-confdef" in line and "--force-confold" in line


def test_what_was_unpacked_before_its_dependencies_is_no_end(tmp_path: Path) -> None:
    """dpkg alone cannot set it up; apt fetches what it needs, and takes nothing out for it."""
    log = tmp_path / "log"
    for name, answer in (("dpkg", 'case "$*" in *audit*) echo broken;; *) exit 1;; esac'), ("apt-get", "exit $APT")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n{answer}\n')
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "APT": "0"}
    subprocess.run(["sh", "-c", install_script(["curl"], 60)], check=True, env=env)
    last = [line for line in log.read_text().splitlines() if line.startswith("apt-get")]
    assert [line.split("--no-install-recommends ")[1] for line in last] == [
        "--no-remove --fix-broken install", "--allow-downgrades install curl",
    ]  # fmt: skip
    done = subprocess.run(["sh", "-c", install_script(["curl"], 60)], env={**env, "APT": "100"})
    assert done.returncode == 1, "the control: it ends where that fails, too"


def test_names_are_quoted_for_the_shell() -> None:
    assert "'a;b'" in install_script(["a;b"], 60)
