"""What a tree needs to boot by itself, beyond what systemd-nspawn asks of it: a disk, an address, an initrd."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import layout as at
from holdfast.lab.vm.boot_files import newest
from holdfast.lab.vm.layout import LABEL
from holdfast.proc import run

# What a tree gets at its making when it is to become a virtual machine. The kernel for clouds has no drivers of real hardware,
# and so a third of the size.
PACKAGES = ("initramfs-tools", "linux-image-cloud-amd64", "zstd")
# As a server's own network; systemd-nspawn is given its addresses from outside.
_NETWORK = f"""\
[Match]
MACAddress={at.WORKSTATION_MAC}
[Network]
Address={at.WORKSTATION4}/24
Address={at.WORKSTATION6}/64
Gateway={at.ROUTER4}
IPv6AcceptRA=no
"""
COLDPLUG = "vm-coldplug.service"
# The disk's driver alone: what else there is, udev loads from the disk. In software every module less is time.
_INITRAMFS = "MODULES=list\n"
_MODULES = "virtio_pci\nvirtio_blk\next4\n"
# In place of those that run udev in the initrd, as initramfs-tools(7) lets one: with the disk's driver loaded by name, all that
# it does there is done again from the disk. A third of a boot's time up to there, in software.
_NO_UDEV = '#!/bin/sh\n[ "$1" = prereqs ] && echo\nexit 0\n'
# In software only (qemu.SOFTWARE_WORDS masks the real one there): what a server has no device of is not asked for its events.
_COLDPLUG = """\
[Unit]
Description=Coldplug the udev devices of a virtual machine
ConditionKernelCommandLine=systemd.mask=systemd-udev-trigger.service
DefaultDependencies=no
Wants=systemd-udevd.service
After=systemd-udevd-kernel.socket systemd-udevd-control.socket
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=udevadm trigger --type=all --action=add --subsystem-match=pci --subsystem-match=virtio --subsystem-match=net \
    --subsystem-match=block --subsystem-match=misc
[Install]
WantedBy=sysinit.target
"""
# In namespaces of its own, so that no mount outlives it.
_ALONE = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL"]
_CHROOT = (
    'mount -t proc proc "$1/proc" && mount -t devtmpfs dev "$1/dev" && tree=$1 && shift && exec chroot "$tree" "$@"'
)


def kernel(tree: Path) -> str:
    """The release of the newest kernel in ``tree``. Raises HoldfastError where there is none."""
    release = newest(path.name for path in (tree / "boot").glob("vmlinuz-*"))
    if not release:
        raise HoldfastError(
            "the machine has no kernel of its own to boot: it was not made to become a virtual one",
            where=str(tree / "boot"), fix="./holdfast down, then ./holdfast up --vm",
        )  # fmt: skip
    return release


def small_initrd(tree: Path) -> None:
    """What an initrd made from here on has in it: as little as this machine boots with. Harmless twice."""
    folder = tree / "etc/initramfs-tools"
    files = {"conf.d/small": _INITRAMFS, "modules": _MODULES}
    files |= {f"scripts/{when}/udev": _NO_UDEV for when in ("init-top", "init-bottom")}
    for name, text in files.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if name.startswith("scripts/") else 0o644)


def stale(tree: Path) -> list[str]:
    """The releases of the kernels in ``tree`` whose initrd is missing, or older than what `small_initrd` says."""
    said = max(path.stat().st_mtime for path in (tree / "etc/initramfs-tools").rglob("*") if path.is_file())
    initrds = {path.name.removeprefix("vmlinuz-"): path.with_name(path.name.replace("vmlinuz", "initrd.img", 1))
               for path in (tree / "boot").glob("vmlinuz-*")}  # fmt: skip
    return sorted(name for name, initrd in initrds.items() if not initrd.exists() or initrd.stat().st_mtime < said)


def dress(tree: Path, *, env: dict[str, str], log: Path) -> None:
    """Make ``tree``, which nothing runs in, bootable. Harmless twice. Raises HoldfastError where it has no kernel."""
    kernel(tree)
    (tree / "etc/fstab").write_text(f"LABEL={LABEL} / ext4 defaults,errors=remount-ro 0 1\n")
    (tree / "etc/systemd/network").mkdir(exist_ok=True)
    (tree / "etc/systemd/network/10-lan.network").write_text(_NETWORK)
    (tree / "etc/systemd/system" / COLDPLUG).write_text(_COLDPLUG)
    small_initrd(tree)
    inside: list[str | Path] = [*_ALONE, "sh", "-c", _CHROOT, "chroot", tree]
    fix = "./holdfast down, then ./holdfast up --vm; the log above says what stopped it"
    run([*inside, "systemctl", "enable", "systemd-networkd", COLDPLUG], env=env, log=log, fix=fix)
    for release in stale(tree):
        new = not (tree / "boot" / f"initrd.img-{release}").exists()
        run([*inside, "update-initramfs", "-c" if new else "-u", "-k", release], env=env, log=log, fix=fix)
