from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast.lab.placement import spread


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_folders_made_there_are_put_apart_where_the_file_system_is_ext4(tmp_path: Path) -> None:
    spread(tmp_path)
    spread(tmp_path)
    kind = said("stat", "-f", "-c", "%T", str(tmp_path)).strip()
    if kind != "ext2/ext3":
        pytest.skip(f"{tmp_path} is {kind}, and only ext4 puts folders apart (--basetemp names another place)")
    assert "T" in said("lsattr", "-d", str(tmp_path)).split()[0]
    assert "T" not in said("lsattr", "-d", str(tmp_path.parent)).split()[0], "it is no habit of this computer's"


def test_what_is_no_folder_is_an_error_and_what_has_no_flags_is_none(tmp_path: Path) -> None:
    spread(Path("/proc/self"))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError):
        spread(file)
