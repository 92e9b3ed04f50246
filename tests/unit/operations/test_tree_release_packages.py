"""Shipping a folder, switching a release, choosing packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from holdfast.operations.packages import install_script, missing
from holdfast.operations.release import read_release, switch_script
from holdfast.operations.tree import read_tree, sources, tree_hash, write_tree


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


def test_the_hash_of_a_tree_follows_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1\n")
    before = tree_hash(tmp_path)
    (tmp_path / "a.py").write_text("2\n")
    assert tree_hash(tmp_path) != before


def test_switching_keeps_the_release_before_and_removes_older_ones(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        (tmp_path / version).mkdir()
        subprocess.run(["sh", "-c", switch_script(version, str(tmp_path))], check=True)
        assert read_release(str(tmp_path), version)["current"] == version
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3", "current"]


def test_versions_are_pinned_exactly() -> None:
    have = {"curl": "8", "tailscale": "1.102.5"}
    assert missing(["curl", "tailscale=1.102.5"], have) == []
    assert missing(["curl", "tailscale=1.104", "zstd"], have) == ["tailscale=1.104", "zstd"]


def test_names_are_quoted_for_the_shell() -> None:
    assert "'a;b'" in install_script(["a;b"], 60)
