"""The virtual machine's parts that need none: which kernel boots, what a disk is made of, how KVM is tried."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.unit.lab.test_prerequisites import Notes

from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.errors import HoldfastError
from holdfast.lab import prerequisites
from holdfast.lab.layout import Layout
from holdfast.lab.vm import accel, boot_files, disk, dress, machine, power
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm import qemu as program


def test_the_newest_kernel_boots_as_grub_orders_them() -> None:
    names = [
        "vmlinuz-6.12.9+deb13-amd64",
        "vmlinuz-6.12.10+deb13-amd64",
        "vmlinuz-6.1.0-40-amd64",
        "config-7.0",
        "initrd.img-8.0",
    ]
    assert boot_files.newest(names) == "6.12.10+deb13-amd64"
    assert boot_files.newest([*names, "vmlinuz-7.0.old", "vmlinuz-7.1.dpkg-new"]) == "6.12.10+deb13-amd64"
    assert boot_files.newest([*names, "vmlinuz-7.0"]) == "7.0"
    assert boot_files.newest(["grub"]) == ""


def test_boot_loader_and_component_agree_on_what_is_a_kernel(tmp_path: Path) -> None:
    ends = ("", ".old", ".bak", ".dpkg-new", ".dpkg-tmp", ".dpkg-bak", ".signed", ".unsigned")
    (tmp_path / "boot").mkdir()
    for n, end in enumerate(ends):
        (tmp_path / f"boot/vmlinuz-6.12.{n}-amd64{end}").touch()
    boots = boot_files.newest(os.listdir(tmp_path / "boot"))
    assert boots == from_json(read_machine(str(tmp_path))).next_kernel == "6.12.0-amd64"


def tree(folder: Path, *kernels: str, initrd: bool = True) -> Path:
    boot = folder / "tree" / "boot"
    boot.mkdir(parents=True)
    for kernel in kernels:
        (boot / f"vmlinuz-{kernel}").write_bytes(b"kernel " + kernel.encode())
        if initrd:
            (boot / f"initrd.img-{kernel}").write_bytes(b"initrd " + kernel.encode())
    return folder / "tree"


def test_kernel_and_initrd_come_out_of_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    made, image = tree(tmp_path, "6.12.9", "6.12.10"), tmp_path / "vm" / "disk.img"
    disk.make(made, image, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, log=tmp_path / "log")
    boot_files.repair(image)
    files = boot_files.extract(image, tmp_path)
    assert files.release == "6.12.10" and files.kernel.read_bytes() == b"kernel 6.12.10"
    assert files.initrd is not None and files.initrd.read_bytes() == b"initrd 6.12.10"
    assert image.stat().st_size == vm.DISK_GIB << 30 and image.stat().st_blocks * 512 < 1 << 30, "sparse"


def test_a_disk_without_initrd_or_without_kernel(tmp_path: Path) -> None:
    image, env = tmp_path / "disk.img", {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    disk.make(tree(tmp_path / "a", "7.0", initrd=False), image, env=env, log=tmp_path / "log")
    assert boot_files.extract(image, tmp_path).initrd is None
    disk.make(tree(tmp_path / "b"), image, env=env, log=tmp_path / "log")
    with pytest.raises(HoldfastError, match=r"no kernel in /boot\n") as bare:
        boot_files.extract(image, tmp_path)
    image.write_bytes(bytes(1 << 20))  # no file system
    with pytest.raises(HoldfastError, match=r"no kernel in /boot: .*Bad magic number") as broken:
        boot_files.extract(image, tmp_path)
    assert "./holdfast up --vm" in bare.value.fix and "./holdfast up --vm" in broken.value.fix
    with pytest.raises(HoldfastError, match="cannot be mended") as hopeless:
        boot_files.repair(image)
    assert f"e2fsck {image}" in hopeless.value.fix
    with pytest.raises(HoldfastError, match="not made to become a virtual one"):
        dress.kernel(tmp_path / "b" / "tree")


def test_what_fails_while_a_machine_is_made_says_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mke2fs", "ip", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\necho no; exit 3\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    made, env = tree(tmp_path, "7.0"), dict(os.environ)
    (made / "etc/systemd/system").mkdir(parents=True)
    steps = [
        lambda: disk.make(made, tmp_path / "disk.img", env=env, log=tmp_path / "log"),
        lambda: dress.dress(made, env=env, log=tmp_path / "log"),
        lambda: machine.plug(Layout("few"), env),
    ]
    for step in steps:
        with pytest.raises(HoldfastError, match="ended with status 3: no") as told:
            step()
        assert "./holdfast down" in told.value.fix


def test_an_initrd_is_made_anew_where_it_is_missing_or_older_than_what_is_to_be_in_it(tmp_path: Path) -> None:
    made = tree(tmp_path, "6.12.9", "6.12.10")
    dress.small_initrd(made)
    os.utime(made / "boot/initrd.img-6.12.9", (0, 0))
    os.utime(made / "boot/initrd.img-6.12.10", (time.time() + 60, time.time() + 60))
    (made / "boot/vmlinuz-7.0").write_bytes(b"kernel")
    assert dress.stale(made) == ["6.12.9", "7.0"]
    settings = made / "etc/initramfs-tools/modules"
    os.utime(settings, (0, 0))
    dress.small_initrd(made)
    assert settings.stat().st_mtime == 0, "not written again where it is as it should be"


def test_a_disk_that_is_too_full_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.require_room(tmp_path / "not" / "yet")
    monkeypatch.setattr(disk, "ROOM_GIB", 1 << 40)
    with pytest.raises(HoldfastError) as told:
        disk.require_room(tmp_path / "not" / "yet")
    assert str(tmp_path) in told.value.render() and "GiB are free" in told.value.render() and "Fix:" in told.value.render()


def test_why_qemu_ended() -> None:
    said = b'{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\r\n'
    assert power.reason([b'{"return": {}}\n', said]) == "guest-reset"
    assert power.reason([said[:40]]) == "" and power.reason([]) == "", "killed"


def test_what_costs_much_in_software_is_left_out_there_alone() -> None:
    files = boot_files.BootFiles("6.12.10", Path("/k"), None)
    layout = Layout("lab")
    words = {accelerator: program.command(layout, files, accelerator, 512) for accelerator in ("kvm", "tcg")}
    assert any("mitigations=off" in w for w in words["tcg"])
    assert not any("mitigations=off" in w for w in words["kvm"])
    assert "max" in words["tcg"] and any("clearcpuid=cx16" in w for w in words["tcg"]), "for the kernel alone: programs need it"
    assert all(len(w) < 2048 for both in words.values() for w in both), "x86's COMMAND_LINE_SIZE: the rest would be cut off"
    assert "-initrd" not in words["kvm"]
    assert not any("hostfwd" in w or "user," in w for both in words.values() for w in both), "no port of this computer"


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A qemu that runs the script in the file `does`, with $serial the file of its console."""
    program = tmp_path / vm.QEMU
    program.write_text(
        "#!/bin/sh\nfor word; do case $word in file:*) serial=${word#file:};; esac; done\n. " + f"{tmp_path}/does\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "does"


def test_kvm_works_where_a_kernel_came_up_with_it(qemu: Path) -> None:
    def tried() -> str:
        return accel.boot_fails(Path("/k"), accel.KVM, 2)

    qemu.write_text(f'echo "VFS: {accel.MARK} fs" > "$serial"\n')
    assert tried() == ""
    qemu.write_text('echo "error: failed to set MSR 0x10a" >&2; exit 1\n')
    assert "failed to set MSR" in tried()
    qemu.write_text('echo SeaBIOS > "$serial"; exec sleep 60\n')
    assert "booted no kernel within 2 s" in tried()
    qemu.write_text("exit 0\n")
    assert tried(), "an end without a word is no boot"


@pytest.mark.parametrize(
    ("device", "boots", "accelerator", "said"),
    [(True, True, "kvm", ""), (True, False, "tcg", "KVM fails (ended with status 0)"), (False, True, "tcg", "KVM is not there")],
)
def test_kvm_is_chosen_where_its_device_is_there_and_boots(
    qemu: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: bool, boots: bool, accelerator: str, said: str
) -> None:
    """A boot would succeed where the device is missing: it is not even tried."""
    qemu.write_text(f'touch {tmp_path}/tried; {f"""echo "{accel.MARK}" > "$serial" """ if boots else "exit 0"}\n')
    monkeypatch.setattr(accel, "DEVICE", tmp_path / "kvm")
    if device:
        accel.DEVICE.touch()
    notes = Notes()
    assert accel.choose(Path("/k"), notes) == accelerator
    assert (tmp_path / "tried").exists() == device
    assert [said in note and "in software" in note for note in notes.lines] == ([True] if said else [])
    assert bool(accel.refusal(Path("/k"))) == bool(said)


def test_qemu_is_asked_for_where_a_virtual_machine_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites.shutil, "which", lambda program, path="": None)
    assert "qemu-system-x86" in prerequisites.missing(vm=True) and "qemu-system-x86" not in prerequisites.missing()
    assert prerequisites.missing(vm=True).count("e2fsprogs") == 1
