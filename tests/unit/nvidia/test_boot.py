"""Which kernel boots next, as GRUB, systemd-boot or the firmware have it; and that nothing else is rebooted into."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import MENU
from tests.unit.nvidia.states import HERE
from tests.unit.nvidia.trees import EFI, NEW, NOUVEAU, OLD, READY, Files, V, boot, debian, loaded, module, read, tree

from holdfast.cli import status
from holdfast.components.nvidia.boot import Boot, boots
from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.facts import read_machine
from holdfast.components.nvidia.outlook import outlook
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Reboot, Stop, to_use

DUE: Files = {**HERE, **NOUVEAU, **boot(NEW), **module(NEW, V), **debian()}
"""A machine that needs a reboot, into the newer of two kernels that both have the module."""
THIRD = "6.12.9-other"
WINDOWS = "Windows Boot Manager (on /dev/nvme0n1p1)"
DUAL = (
    MENU
    + f"""
menuentry '{WINDOWS}' --class windows $menuentry_id_option 'osprober-efi-1234-ABCD' {{
  chainloader /EFI/Microsoft/Boot/bootmgfw.efi
}}
menuentry 'Debian GNU/Linux 12 (on /dev/sdb2)' $menuentry_id_option 'osprober-gnulinux-simple-9' {{
  linux /boot/vmlinuz-{NEW} root=b
}}
menuentry 'Fedora' $menuentry_id_option 'fedora' {{
  linux /boot/vmlinuz-{THIRD} root=c
}}
menuentry "Memory test" {{
  linux /boot/memtest86+x64.efi
}}
menuentry 'by a link' {{
  linux /boot/vmlinuz root=a
}}
if [ "$grub_platform" = "efi" ]; then
  menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {{
    fwsetup
  }}
fi
"""
)
MAIN = 'if [ "${{next_entry}}" ] ; then\n   set default="${{next_entry}}"\nelse\n   set default="{}"\nfi\n'


def grub(default: str, menu: str = DUAL, environment: str = "") -> Files:
    return {
        "etc/default/grub": f'GRUB_DEFAULT="{default}"\n', "boot/grub/grub.cfg": menu,
        "boot/grub/grubenv": f"# GRUB Environment Block\n{environment}####\n",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "kernel"),
    [
        (grub("0"), NEW),
        (grub(""), NEW),
        (grub("1>2"), OLD),
        (grub("1>old"), OLD),
        # A menu without a place in it opens at its first; what is not found counts as the first of all.
        (grub("Advanced"), NEW),
        (grub("gone"), NEW),
        (grub("by a link"), NEW),
        (grub("saved"), NEW),
        (grub("saved", environment="saved_entry=1>2\n"), OLD),
        (grub("osprober-efi-1234-ABCD", environment="next_entry=1>2\n"), OLD),
        # What update-grub has not been run for does not count yet.
        (grub("0", DUAL + MAIN.format("1>2")), OLD),
        (grub("2", DUAL + MAIN.format("${saved_entry}"), "saved_entry=1>2\n"), OLD),
    ],
)
def test_the_kernel_that_grub_boots(tmp_path: Path, files: Files, kernel: str) -> None:
    found = read(tmp_path, {**DUE, **files})
    assert (found.next_kernel, found.boot.other) == (kernel, "")
    assert isinstance(to_use(found, Want(), ()), Reboot)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (grub("2"), WINDOWS),
        (grub(WINDOWS), WINDOWS),
        (grub("osprober-efi-1234-ABCD"), WINDOWS),
        (grub("saved", environment=f"saved_entry={WINDOWS}\n"), WINDOWS),
        (grub("0", environment="next_entry=2\n"), WINDOWS),
        (grub("0", DUAL + MAIN.format("2")), WINDOWS),
        # Another system's Linux is none of this machine's, be it of the same release; so is what is no Linux at all.
        (grub("osprober-gnulinux-simple-9"), "on /dev/sdb2"),
        (grub("Fedora"), "Fedora"),
        (grub("Memory test"), "Memory test"),
        (grub("uefi-firmware"), "UEFI Firmware"),
        # Where the menu cannot be read.
        (grub(WINDOWS, ""), WINDOWS),
        (grub("saved", "", "saved_entry=osprober-efi-1234\n"), "osprober-efi-1234"),
    ],
)  # fmt: skip
def test_holdfast_does_not_reboot_into_what_is_no_kernel_of_the_machine(tmp_path: Path, files: Files, words: str) -> None:
    recorded = read_machine(str(tree(tmp_path / "root", {**DUE, **files})))
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(recorded))
    found = read(tmp_path / "root", {})
    assert classify(found, {}, 550).state == "needs_reboot" and found.next_kernel == NEW
    for want in (Want(), Want(reboot="always"), Want(here=True), Want(reboot="never")):
        step = to_use(found, want, ())
        assert isinstance(step, Stop) and (step.state, step.code) == ("needs_reboot", 3), step
        assert words in step.why and "GRUB boots" in step.why and "sudo grub-reboot" in step.fix
        assert outlook(found, want).startswith("reboot: needed and not done (GRUB boots")
    [told] = status.replayed(file).data["nvidia"]["findings"]
    assert words in told["message"] and "sudo grub-reboot" in told["fix"] and "./holdfast up" in told["fix"]


def test_the_fix_names_the_linux_by_its_place(tmp_path: Path) -> None:
    menu = f"submenu 'more' {{\nmenuentry 'Debian' {{\n linux /vmlinuz-{OLD}\n}}\n}}\n"
    first = f"menuentry 'Windows' {{\n chainloader x\n}}\n{menu}"
    found = read(tmp_path, {**DUE, **grub("0", first)})
    # It is also the kernel that is looked after: the one which is chosen so.
    assert found.next_kernel == OLD and "sudo grub-reboot '1>0' " in found.boot.fix
    told = classify(read(tmp_path / "works", {**READY, **debian(), **grub("0", first)}), {}, 550)
    assert told.usable and any("does not come back by itself" in note for note in told.notes)


def systemd_boot(default: str, *entries: str, linux: bool = True) -> Files:
    at = "boot/efi/loader"
    files: Files = {f"{at}/loader.conf": f"# default x\ntimeout 3\n{f'default {default}' if default else ''}\n"}
    for name in entries:
        release = name.removeprefix("m-").partition("+3")[0].partition("+0")[0]
        lines = f"linux /m/{release}/linux\ninitrd /m/{release}/initrd\n" if linux else "efi /EFI/other/grubx64.efi\n"
        files[f"{at}/entries/{name}.conf"] = f"title Debian\nversion {release}\n{lines}"
    return files


def variable(name: str, text: str) -> Files:
    return {f"{EFI}/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f": b"\6\0\0\0" + f"{text}\0".encode("utf-16-le")}


BOTH = (f"m-{OLD}", f"m-{NEW}")
OTHER: Files = {"boot/efi/loader/entries/windows.conf": "title Windows\nefi /EFI/Microsoft/Boot/bootmgfw.efi\n"}


@pytest.mark.parametrize(
    ("files", "kernel", "assumed"),
    [
        (systemd_boot("", *BOTH), NEW, ""),
        (systemd_boot(f"*{OLD}*", *BOTH), OLD, ""),
        (systemd_boot(f"m-{OLD}.conf", *BOTH), OLD, ""),
        (systemd_boot("M-*", *BOTH), NEW, ""),
        (systemd_boot("m-6.12.10?+*", *BOTH), OLD, ""),
        # Tried three times in vain: it comes last.
        (systemd_boot("", f"m-{OLD}", f"m-{NEW}+0-3"), OLD, ""),
        (systemd_boot("", f"m-{OLD}", f"m-{NEW}+3"), NEW, ""),
        ({**systemd_boot("", f"m-{OLD}"), f"boot/efi/EFI/Linux/m-{NEW}.efi": "x"}, NEW, ""),
        # What bootctl has set comes before the file, and what it has set for once before that.
        ({**systemd_boot("m-*", *BOTH), **variable("LoaderEntryDefault", f"m-{OLD}.conf")}, OLD, ""),
        (
            {**systemd_boot("windows", *BOTH), **OTHER, **variable("LoaderEntryDefault", f"m-{NEW}.conf"),
             **variable("LoaderEntryOneShot", f"m-{OLD}.conf")},
            OLD, "",
        ),
        ({**systemd_boot("@saved", *BOTH), **variable("LoaderEntryLastBooted", f"m-{OLD}.conf")}, OLD, ""),
        # Not certain, and so told.
        (systemd_boot(f"*{OLD}"), OLD, "entries could not be read"),
        (systemd_boot(""), NEW, "entries could not be read"),
        (systemd_boot("gone-*", *BOTH), NEW, "no entry of that name"),
    ],
)  # fmt: skip
def test_the_kernel_that_systemd_boot_boots(tmp_path: Path, files: Files, kernel: str, assumed: str) -> None:
    # A setting of GRUB's that was left behind says nothing.
    left: Files = {"etc/default/grub": "GRUB_DEFAULT=windows\n"}
    found = read(tmp_path, {**DUE, **variable("LoaderInfo", "systemd-boot 257.7"), **left, **files})
    assert (found.next_kernel, found.boot.other) == (kernel, "")
    assert assumed in found.boot.assumed and bool(assumed) == bool(found.boot.assumed)
    notes = classify(found, {}, 550).notes
    assert any(f"kernel {kernel} is assumed to boot next" in note for note in notes) == bool(assumed)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**systemd_boot("windows.conf", *BOTH), **OTHER}, "'Windows'"),
        ({**systemd_boot("auto-windows", *BOTH)}, "'auto-windows'"),
        (systemd_boot("auto-windows"), "'auto-windows'"),
        ({**systemd_boot("m-*", *BOTH), **variable("LoaderEntryOneShot", "auto-windows")}, "'auto-windows'"),
        ({**systemd_boot(f"m-{THIRD}*", *BOTH, f"m-{THIRD}")}, "'Debian'"),
    ],
)
def test_systemd_boot_and_another_system(tmp_path: Path, files: Files, words: str) -> None:
    found = read(tmp_path, {**DUE, **files})
    step = to_use(found, Want(reboot="always"), ())
    assert isinstance(step, Stop) and words in step.why and "bootctl set-oneshot" in step.fix
    assert found.next_kernel == NEW


def test_grub_with_its_own_variables_is_no_systemd_boot(tmp_path: Path) -> None:
    files = {**systemd_boot("auto-windows"), **grub("1>2"), **variable("LoaderInfo", "GRUB 2.12")}
    assert read(tmp_path, {**DUE, **files}).boot == Boot(OLD)


def test_an_older_recording_has_the_entry_alone() -> None:
    there = ["6.1.0-1-amd64", "6.1.0-10-amd64", "6.1.0-2-amd64"]
    assert boots([], {"chosen": "Windows"}) == Boot()
    for entry in ("", "0", "1>2", "gnulinux-simple-1234"):
        found = boots(there, {"chosen": entry})
        assert (found.kernel, found.other) == ("6.1.0-10-amd64", "")
        assert bool(found.assumed) == (entry == "1>2")
    assert boots(there, {"chosen": "gnulinux-advanced-x>gnulinux-6.1.0-1-amd64-advanced-x"}) == Boot("6.1.0-1-amd64")
    assert boots(there, {"chosen": "Advanced options>Debian GNU/Linux, with Linux 6.1.0-2-amd64"}) == Boot("6.1.0-2-amd64")
    assert boots(there, {"chosen": "linux\t/vmlinuz-6.1.0-1-amd64 root=x"}) == Boot("6.1.0-1-amd64")


def test_a_machine_that_works_is_not_stopped_by_its_menu(tmp_path: Path) -> None:
    assert to_use(read(tmp_path, {**READY, **debian(), **loaded(V), **grub("2")}), Want(), ()) is None
