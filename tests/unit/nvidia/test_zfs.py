"""A root on ZFS with its own encryption: whether a person is asked at boot."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.nvidia.trees import READY, read

from holdfast.components.nvidia.disk_reader import read_passphrases

ZFS = "rpool/ROOT/debian"


def zfs(**properties: str) -> str:
    return "".join(f"{name}\t{value}\n" for name, value in properties.items())


INHERITS = zfs(encryption="aes-256-gcm", encryptionroot="rpool", keylocation="none")


@pytest.mark.parametrize(
    ("root", "above", "boot", "asks"),
    [
        (zfs(encryption="off", encryptionroot="-", keylocation="none"), "", True, False),
        (zfs(encryption="aes-256-gcm", encryptionroot=ZFS, keylocation="prompt"), "", True, True),
        # What inherits its key has no place of it.
        (INHERITS, zfs(keylocation="prompt"), True, True),
        (INHERITS, zfs(keylocation="file:///run/k"), True, False),
        # A boot menu that reads the kernel out of it has asked.
        (zfs(encryption="aes-256-gcm", encryptionroot=ZFS, keylocation="file:///etc/zfs/k"), "", False, True),
        # No answer counts as asking.
        ("", "", True, True),
        (INHERITS, "", True, True),
    ],
)
def test_zfs_that_asks_for_a_passphrase(root: str, above: str, boot: bool, asks: bool, tmp_path: Path) -> None:
    mounts = f"{ZFS} / zfs rw 0 0\n" + ("bpool/BOOT/debian /boot zfs rw 0 0\n" if boot else "")
    files = {**READY, "proc/mounts": mounts, "zfs/rpool-ROOT-debian": root, "zfs/rpool": above}
    assert read(tmp_path / "zfs", files).passphrases == ((ZFS,) if asks else ())
    assert read(tmp_path / "inside", {**files, ".dockerenv": ""}).passphrases == ()
    plain = {**files, "proc/mounts": "/dev/sda2 / ext4 rw 0 0\n"}
    assert read(tmp_path / "plain", plain).passphrases == ()


def test_zfs_itself_is_asked_on_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answers(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout=zfs(encryption="aes-256-gcm", encryptionroot="rpool", keylocation="prompt"))

    monkeypatch.setattr(subprocess, "run", answers)
    mounts = {"proc/mounts": f"{ZFS} / zfs rw 0 0\n/dev/sda1 /boot ext4 rw 0 0\n"}
    found = read_passphrases("/", lambda *at: mounts.get("/".join(at), ""), lambda *_: [], lambda *_: "", False)
    assert found == [ZFS] and [command[-1] for command in asked] == [ZFS, "rpool"]
    assert asked[0][:-1] == ["zfs", "get", "-H", "-o", "property,value", "encryption,encryptionroot,keylocation"]

    def missing(*_: object, **__: object) -> SimpleNamespace:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert read_passphrases("/", lambda *at: mounts.get("/".join(at), ""), lambda *_: [], lambda *_: "", False) == [ZFS]
