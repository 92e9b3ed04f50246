"""An unmounted disk or a wrong path is told; it gets no new, empty store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.components.models.folder import DEFAULT, obstacle, read_folder


@pytest.fixture
def fstab(tmp_path: Path) -> Path:
    path = tmp_path / "fstab"
    path.write_text("# a comment\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\nproc /proc proc defaults 0 0\n")
    return path


def found(path: Path, fstab: Path) -> dict[str, object]:
    return dict(read_folder(str(path), str(fstab)))


def told(path: Path, fstab: Path, **other: object) -> str:
    problem = obstacle(str(path), {**found(path, fstab), **other})
    assert problem
    assert "Fix: " in problem.render() and str(path) in problem.render()
    return problem.render()


def test_disk_of_fstab_that_is_not_mounted(tmp_path: Path, fstab: Path) -> None:
    store = tmp_path / "my disk" / "models"
    (store / "blobs").mkdir(parents=True)
    (store / "manifests").mkdir()
    assert obstacle(str(store), found(store, fstab)) is None
    with fstab.open("a") as file:
        file.write(f"UUID=3 {tmp_path}/my\\040disk/ ext4 nofail 0 2\n")
    assert f"mount {tmp_path}/my disk" in told(store, fstab)
    assert found(tmp_path / "my disk-2", fstab)["unmounted"] == ""
    assert found(Path("/proc/models"), fstab)["unmounted"] == "", "what is mounted is no obstacle"
    with fstab.open("a") as file:
        file.write(f"UUID=4 {DEFAULT} ext4 defaults 0 2\n")
    if not os.path.ismount(DEFAULT):
        assert "is not mounted" in told(Path(DEFAULT), fstab)


def test_default_may_be_made_and_others_must_be_there(tmp_path: Path, fstab: Path) -> None:
    nothing = {"unmounted": "", "kind": "absent", "store": False, "foreign": [], "root_disk": False}
    assert obstacle(DEFAULT, nothing) is None and obstacle(DEFAULT, None) is None
    assert "does not exist" in told(tmp_path / "none", fstab)
    assert obstacle("/mnt/x", None), "a machine without python3 has no such store"


def test_empty_folder_on_the_root_disk_is_a_disk_that_is_not_mounted(tmp_path: Path, fstab: Path) -> None:
    assert "not mounted?" in told(tmp_path / "..", fstab, foreign=[], root_disk=True)
    store = tmp_path / "store"
    store.mkdir()
    assert obstacle(str(store), {**found(store, fstab), "root_disk": False}) is None, "a fresh disk"
    (store / "lost+found").mkdir()
    assert obstacle(str(store), {**found(store, fstab), "root_disk": False}) is None
    assert "mkdir" in told(store, fstab, root_disk=True)
    (store / "blobs").mkdir()
    (store / "manifests").mkdir()
    assert obstacle(str(store), {**found(store, fstab), "root_disk": True}) is None


def test_wrong_paths(tmp_path: Path, fstab: Path) -> None:
    link, file, full = tmp_path / "link", tmp_path / "file", tmp_path / "full"
    link.symlink_to(tmp_path)
    file.write_text("")
    full.mkdir()
    (full / "holiday.jpg").write_text("")
    assert "symbolic link" in told(link, fstab)
    assert "is no folder" in told(file, fstab)
    assert "holiday.jpg" in told(full, fstab, root_disk=False)
    assert found(tmp_path, fstab)["root_disk"] == (os.stat(tmp_path).st_dev == os.stat("/").st_dev)
