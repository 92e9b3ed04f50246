"""Entries of boot loaders that end at a prompt, and ones that are written in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.nvidia.test_boot import BOTH, DUE, OTHER, THIRD, grub, systemd_boot, variable
from tests.unit.nvidia.trees import NEW, OLD, Files, read, tree

from holdfast.components.nvidia.boot import Boot
from holdfast.components.nvidia.facts import read_machine
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Reboot, Stop, to_use

RECOVERY = f"""
menuentry 'Debian' {{
  linux /vmlinuz-{NEW} root=a ro quiet
}}
menuentry 'Debian (recovery mode)' {{
  linux /vmlinuz-{NEW} root=a ro OPTIONS
}}
"""


@pytest.mark.parametrize(
    "options", ["single", "recovery nomodeset", "systemd.unit=rescue.target", "emergency", "init=/bin/bash", "1"]
)
def test_an_entry_that_ends_at_a_prompt_is_none_to_reboot_into(options: str, tmp_path: Path) -> None:
    found = read(tmp_path / "prompt", {**DUE, **grub("1", RECOVERY.replace("OPTIONS", options))})
    step = to_use(found, Want(), ())
    assert isinstance(step, Stop) and "'Debian (recovery mode)' (to a rescue prompt)" in step.why, step
    # Its Linux, by the entry that boots it whole.
    assert "sudo grub-reboot 0 " in step.fix and found.next_kernel == NEW
    for other in ("quiet", "crashkernel=1", "panic=1 root=/dev/single", "systemd.unit=multi-user.target"):
        whole = read(tmp_path / other.replace("/", ""), {**DUE, **grub("1", RECOVERY.replace("OPTIONS", other))})
        assert isinstance(to_use(whole, Want(), ()), Reboot)


def test_systemd_boots_entry_that_ends_at_a_prompt(tmp_path: Path) -> None:
    files = systemd_boot(BOTH[1], *BOTH)
    name = f"boot/efi/loader/entries/{BOTH[1]}.conf"
    assert isinstance(to_use(read(tmp_path / "whole", {**DUE, **files}), Want(), ()), Reboot)
    files[name] = f"{files[name]}options root=a\noptions ro single\n"  # type: ignore[str-bytes-safe]
    found = read(tmp_path / "prompt", {**DUE, **files})
    assert "(to a rescue prompt)" in found.boot.other and BOTH[0] in found.boot.fix


ONE_LINE = f"""
menuentry "FW" {{ fwsetup }}
submenu 'tools' {{ menuentry 'mem' --id x ${{id}} {{ linux /memtest.bin ; boot }} }}
menuentry 'Debian' {{ linux /vmlinuz-{NEW} root=a ; initrd /initrd.img-{NEW} }}
menuentry 'old {{really}}' {{
  linux /vmlinuz-{OLD}
}}
submenu 'Advanced' {{
  menuentry 'single line' {{ linux /vmlinuz-{OLD} root=a single; }}
  menuentry 'in it' {{ linux /vmlinuz-{OLD} root=a}}
  }}
  menuentry 'last' {{
    linux /vmlinuz-{OLD}
  }}
}}
"""


def test_entries_that_are_written_in_one_line(tmp_path: Path) -> None:
    recorded = read_machine(str(tree(tmp_path / "root", {**DUE, **grub("2", ONE_LINE)})))
    places = {entry["title"]: (entry["at"], entry["linux"], entry["rescue"]) for entry in recorded["boot"]["entries"]}
    assert places == {
        "FW": ("0", "", False), "tools": ("1", "", False), "mem": ("1>0", "/memtest.bin", False),
        "Debian": ("2", f"/vmlinuz-{NEW}", False), "old {really}": ("3", f"/vmlinuz-{OLD}", False),
        "Advanced": ("4", "", False), "single line": ("4>0", f"/vmlinuz-{OLD}", True),
        "in it": ("4>1", f"/vmlinuz-{OLD}", False), "last": ("4>2", f"/vmlinuz-{OLD}", False),
    }  # fmt: skip
    assert read(tmp_path / "root", {}).boot == Boot(NEW)
    first = read(tmp_path / "first", {**DUE, **grub("0", ONE_LINE)})
    assert "'FW'" in first.boot.other and "sudo grub-reboot 2 " in first.boot.fix
    assert read(tmp_path / "sub", {**DUE, **grub("4>2", ONE_LINE)}).next_kernel == OLD


def on_zfs(kernel: str, options: str = "ro quiet") -> str:
    """As Ubuntu's 10_linux_zfs writes it."""
    return f"""
  menuentry 'with Linux {kernel}' --class os ${{menuentry_id_option}} 'gnulinux-rpool/ROOT/ubuntu_ty4pf5-{kernel}' {{
    linux	"/BOOT/ubuntu_ty4pf5@/vmlinuz-{kernel}" root=ZFS="rpool/ROOT/ubuntu_ty4pf5" {options} ${{vt_handoff}}
    initrd	"/BOOT/ubuntu_ty4pf5@/initrd.img-{kernel}"
  }}
"""


def test_a_path_in_quotes_and_an_id_in_braces(tmp_path: Path) -> None:
    more = "submenu 'more' ${menuentry_id_option} 'gnulinux-advanced-rpool/ROOT/x' {"
    menu = f"{on_zfs(NEW)}{more}{on_zfs(NEW)}{on_zfs(OLD)}{on_zfs(OLD, 'single')}}}\n"
    assert read(tmp_path / "first", {**DUE, **grub("0", menu)}).boot == Boot(NEW)
    by_id = f"gnulinux-advanced-rpool/ROOT/x>gnulinux-rpool/ROOT/ubuntu_ty4pf5-{OLD}"
    assert read(tmp_path / "id", {**DUE, **grub(by_id, menu)}).boot == Boot(OLD)
    assert "(to a rescue prompt)" in read(tmp_path / "prompt", {**DUE, **grub("1>2", menu)}).boot.other
    for odd in (f"'/boot/vmlinuz-{OLD}'", f'"/boot"/vmlinuz-{OLD}', f'/boot/"vmlinuz-{OLD}"', f'"/my boot/vmlinuz-{OLD}"'):
        one = f"menuentry 'x' {{\n linux {odd} root=a\n}}\n"
        assert read(tmp_path / str(hash(odd)), {**DUE, **grub("0", one)}).boot == Boot(OLD), odd


def by_hand(linux: str, more: str = "") -> Files:
    return {**systemd_boot(""), "boot/efi/loader/entries/debian.conf": f"title Debian\n{linux}\noptions root=a ro {more}\n"}


UNIFIED: Files = {**systemd_boot(""), "boot/efi/EFI/Linux/debian.efi": "x"}


@pytest.mark.parametrize(
    ("files", "assumed"),
    [
        (by_hand("linux /EFI/debian/vmlinuz"), True),
        (by_hand("linux /EFI/debian/vmlinuz\nversion 13"), True),
        (by_hand("uki /EFI/Linux/debian.efi"), True),
        (UNIFIED, True),
        ({**UNIFIED, **OTHER, **systemd_boot("debian.efi")}, True),
        # Of a prompt, of another system's kernel, of an image among others, and of what the boot loader finds by itself.
        (by_hand("linux /EFI/debian/vmlinuz", "single"), False),
        (by_hand(f"linux /EFI/{THIRD}/vmlinuz"), False),
        (by_hand(f"linux /EFI/debian/vmlinuz\nversion {THIRD}"), False),
        (by_hand("linux /EFI/arch/vmlinuz-linux"), False),
        ({**UNIFIED, **systemd_boot("debian.efi", *BOTH)}, False),
        ({**UNIFIED, **systemd_boot("auto-windows")}, False),
    ],
)
def test_systemd_boots_kernel_without_a_version_in_its_name(files: Files, assumed: bool, tmp_path: Path) -> None:
    found = read(tmp_path, {**DUE, **variable("LoaderInfo", "systemd-boot 257.7"), **files})
    assert found.next_kernel == NEW and bool(found.boot.other) != assumed
    assert ("has no version in its name" in found.boot.assumed) == assumed
    assert isinstance(to_use(found, Want(), ()), Reboot if assumed else Stop)
