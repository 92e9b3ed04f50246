"""What the firmware was told to boot once: another system, an update of fwupd's, or this system by another name."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.unit.nvidia.test_boot import DUE, grub, systemd_boot, variable
from tests.unit.nvidia.trees import EFI, NEW, Files, read

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Reboot, Stop, to_use

END = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


def option(words: str, path: str, disk: bytes) -> bytes:
    """An EFI_LOAD_OPTION: attributes, length of the device path, words, device path, data of the loader's own."""
    file = f"{path}\0".encode("utf-16-le")
    nodes = b"\4\1" + struct.pack("<H", 42) + disk * 38 + b"\4\4" + struct.pack("<H", 4 + len(file)) + file + b"\x7f\xff\4\0"
    return struct.pack("<IH", 1, len(nodes)) + f"{words}\0".encode("utf-16-le") + nodes + b"\\\0f\0w"


def told(words: str, path: str = "", disk: bytes = b"a", following: int = 0x1A) -> Files:
    attributes = b"\7\0\0\0"
    return {
        f"{EFI}/BootCurrent-{END}": attributes + b"\x01\0",
        f"{EFI}/BootNext-{END}": attributes + struct.pack("<H", following),
        f"{EFI}/Boot0001-{END}": attributes + option("debian", "\\EFI\\debian\\shimx64.efi", b"a"),
        f"{EFI}/Boot001A-{END}": attributes + option(words, path, disk),
    }


SYSTEMD_BOOT: Files = {**systemd_boot("", f"m-{NEW}"), **variable("LoaderInfo", "systemd-boot 257.7")}
SHIM, WINDOWS = "\\EFI\\debian\\shimx64.efi", "\\EFI\\Microsoft\\Boot\\bootmgfw.efi"


@pytest.mark.parametrize(
    ("loader", "files"),
    [
        (grub("0"), told("Windows Boot Manager", WINDOWS, following=1)),
        (grub("0"), told("Debian once more", SHIM)),
        (grub("0"), told("Debian once more", "\\EFI\\Debian\\grubx64.efi")),
        (SYSTEMD_BOOT, told("Linux Boot Manager", "\\EFI\\systemd\\systemd-bootx64.efi")),
    ],
)
def test_this_system_by_another_name(loader: Files, files: Files, tmp_path: Path) -> None:
    found = read(tmp_path, {**DUE, **loader, **files})
    assert (found.boot.other, found.boot.assumed, found.next_kernel) == ("", "", NEW)
    assert isinstance(to_use(found, Want(), ()), Reboot)


@pytest.mark.parametrize(
    ("loader", "files"),
    [
        (grub("0"), told("Windows Boot Manager", WINDOWS)),
        (grub("0"), told("Windows Boot Manager")),
        (grub("0"), told("Fedora", "\\EFI\\fedora\\shimx64.efi")),
        (grub("0"), told("memory test", "\\EFI\\debian\\memtest.efi")),
        # The same distribution on another disk, and this one's other boot loader.
        (grub("0"), told("debian", SHIM, disk=b"b")),
        (grub("0"), told("Linux Boot Manager", "\\EFI\\systemd\\systemd-bootx64.efi")),
        (SYSTEMD_BOOT, told("debian", "\\EFI\\debian\\grubx64.efi")),
    ],
)
def test_another_system_is_not_rebooted_into(loader: Files, files: Files, tmp_path: Path) -> None:
    step = to_use(read(tmp_path, {**DUE, **loader, **files}), Want(), ())
    assert isinstance(step, Stop) and "the firmware was told to boot" in step.why and "efibootmgr -N" in step.fix, step


@pytest.mark.parametrize("path", ["\\EFI\\debian\\fwupdx64.efi", SHIM])
@pytest.mark.parametrize("words", ["Linux-Firmware-Updater", "Linux Firmware Updater"])
def test_an_update_of_the_firmware_comes_back(words: str, path: str, tmp_path: Path) -> None:
    found = read(tmp_path / "due", {**DUE, **grub("0"), **told(words, path)})
    assert found.boot.other == "" and isinstance(to_use(found, Want(), ()), Reboot)
    assert any("an update of fwupd's first" in note and f"{NEW} is assumed" in note for note in classify(found, {}, 550).notes)
    # What comes after it is as the boot loader has it.
    after = read(tmp_path / "after", {**DUE, **grub("2"), **told(words, path)})
    assert "GRUB boots" in after.boot.other and isinstance(to_use(after, Want(), ()), Stop)
