from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast.lab import placement


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_folder_is_made_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    placement.make(tmp_path / "lab")
    assert (tmp_path / "lab").stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in tmp_path.iterdir()] == ["lab"]


def test_one_that_is_in_use_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lab" / "tree").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        placement.make(tmp_path / "lab")
    assert (tmp_path / "lab" / "tree").is_dir()


def test_folders_of_one_name_lie_apart_where_the_file_system_is_ext4(tmp_path: Path) -> None:
    if said("stat", "-f", "-c", "%T", str(tmp_path)) != "ext2/ext3\n":
        pytest.skip(f"{tmp_path} is on another file system, which knows no such wish")
    numbers = []
    for _ in range(6):
        placement.make(tmp_path / "lab")
        numbers.append((tmp_path / "lab").stat().st_ino)
        (tmp_path / "lab").rmdir()
    assert "T" in said("lsattr", "-d", str(tmp_path)).split()[0]
    assert "T" not in said("lsattr", "-d", str(tmp_path.parent)).split()[0], "it is no habit of this computer's"
    # An inode's number says in which part it is; neighbours would be next to one another.
    assert max(numbers) - min(numbers) > 1000, numbers
