"""The qemu of a virtual machine: its command line, and whether it runs."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.lab.vm import accel
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm.boot_files import BootFiles

CABLE = "workstation"  # the tap device, named as the other nodes' ends are
# net.ifnames=0: eth0, as in systemd-nspawn. serial-getty: nobody logs in at a file.
# panic=-1: a kernel that stops resets at once; -no-reboot turns that into an end, and the console tells it from a reboot.
KERNEL_WORDS = (
    f"root=LABEL={vm.LABEL} rw console=ttyS0 net.ifnames=0 panic=-1"
    " systemd.mask=serial-getty@ttyS0.service systemd.show_status=1"
)
# What costs much in software and is nothing to any test; each unit of systemd's own is another half of a second.
SPARED = (
    # apt-daily: in a machine that has been off for long they begin at once, and compute for minutes. udev-trigger: asks hundreds
    # of devices for their events, most of them without a driver (dress.COLDPLUG comes in its place). journald-audit switches
    # the audit on; with audit=0, though, each login and each sudo has the kernel look for it with modprobe: a second each time.
    "apt-daily.timer", "apt-daily-upgrade.timer", "systemd-udev-trigger.service",
    "systemd-journald-audit.socket", "e2scrub_reap.service", "getty@tty1.service",
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
    "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
)  # fmt: skip
# Attaching a BPF LSM alone takes systemd 14 s there, the kernel's tests of its own ciphers 2 s. A guest that may have guests of
# its own loads KVM; systemd asks VMware's sockets for an address; the others drive what nobody has plugged in.
# no_timer_check, tsc=reliable: on a busy computer a test of the clocks fails, and that is a panic, or a slow clock.
# clearcpuid=cx16: after an unlocked cmpxchg16b, of which Linux is full, qemu 7.2 leaves an earlier instruction's flags
# behind; an interrupt just then saves and restores them, trap and virtual-8086 bits included: a double fault (EFLAGS c0039b72).
# The kernel alone goes without: NumPy, and so Open WebUI, does not start on a processor that lacks it.
# show_status=error: where a unit takes long, systemd draws its moving stars many times a second.
SOFTWARE_WORDS = (
    "mitigations=off lsm=lockdown,capability,landlock,yama,apparmor cryptomgr.notests no_timer_check tsc=reliable clearcpuid=cx16"
    " systemd.default_timeout_start_sec=600 systemd.default_device_timeout_sec=600 systemd.show_status=error"
    " module_blacklist=kvm,kvm_amd,powernow_k8,vmw_vsock_vmci_transport,vmw_vmci,psmouse,evdev,serio_raw,pcspkr,i2c_piix4"
    f",ata_piix,floppy,cfg80211 {' '.join(f'systemd.mask={unit}' for unit in SPARED)}"
)


def command(layout: Layout, files: BootFiles, accelerator: str, memory_mib: int) -> list[str]:
    """qemu's command line."""
    slow = SOFTWARE_WORDS if accelerator == "tcg" else ""
    words = " ".join(f"BOOT_IMAGE=/boot/vmlinuz-{files.release} {KERNEL_WORDS} {slow} {more(layout)}".split())
    return [
        vm.QEMU, *accel.words(accelerator), "-name", f"hf-{layout.name}", "-m", str(memory_mib),
        "-smp", str(min(os.cpu_count() or 1, 4)), "-nodefaults", "-display", "none", "-no-reboot",
        "-pidfile", str(vm.pid_file(layout)), "-qmp", f"unix:{vm.control_socket(layout)},server=on,wait=on",
        "-chardev", f"file,id=console,path={vm.serial_log(layout)},append=on", "-serial", "chardev:console",
        "-kernel", str(files.kernel), *(["-initrd", str(files.initrd)] if files.initrd else []), "-append", words,
        # unsafe: the guest's flushes are not this disk's; what qemu has taken outlives qemu, as this computer does not fail.
        "-drive", f"file={vm.disk(layout)},format=raw,if=virtio,cache=unsafe,discard=unmap",
        "-netdev", f"tap,id=lan,ifname={CABLE},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=lan,mac={at.WORKSTATION_MAC},romfile=", "-device", "virtio-rng-pci",
    ]  # fmt: skip


def more(layout: Layout) -> str:
    """Further words for the kernel."""
    file = vm.command_line(layout)
    return file.read_text().strip() if file.exists() else ""


def running(layout: Layout) -> int:
    """The pid of the machine's qemu, also of one that has lost its supply; 0 where none runs."""
    try:
        pid = int(vm.pid_file(layout).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if str(vm.pid_file(layout)).encode() in words else 0


def require_off(layout: Layout) -> None:
    """Raises HoldfastError while a qemu has the disk: it would be mended, and booted, under it."""
    if pid := running(layout):
        raise HoldfastError(
            f"the virtual machine is on already: a qemu that nothing here has started has its disk (pid {pid})",
            where=str(vm.pid_file(layout)), fix=f"end it, which is a power cut: kill -9 {pid}; then ./holdfast up --vm",
        )  # fmt: skip
