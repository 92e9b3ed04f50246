"""The virtual machine's power supply: runs qemu, and runs it again when the machine reboots.

Started as a process of the lab (`machine.boot`). It ends when the machine powers off, and when qemu is killed: a power cut.
Between two boots it does what firmware and boot loader do: it mends the file system and takes the kernel from the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.lab.vm import accel, boot_files
from holdfast.lab.vm import layout as vm
from holdfast.lab.vm.boot_files import BootFiles

CABLE = "workstation"  # the tap device, named as the other nodes' ends are
# net.ifnames=0: eth0, as in systemd-nspawn. serial-getty: nobody logs in at a file.
# panic=-1: a kernel that stops reboots at once; -no-reboot turns that into an end.
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


def reason(lines: list[bytes]) -> str:
    """Why qemu ended, in its own word (guest-reset, guest-shutdown, guest-panic …); "" when it could not say."""
    for line in lines:
        message = json.loads(line) if line.strip().endswith(b"}") else {}
        if message.get("event") == "SHUTDOWN":
            return str(message["data"]["reason"])
    return ""


def say(line: str) -> None:
    """A line of the machine's log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def one_boot(layout: Layout, accelerator: str, memory_mib: int) -> str:
    """From power-on to the end; returns the reason."""
    boot_files.repair(vm.disk(layout))
    files = boot_files.extract(vm.disk(layout), vm.folder(layout))
    say(f"boots {files.release} with {accelerator}")
    vm.control_socket(layout).unlink(missing_ok=True)
    inside = ["ip", "netns", "exec", layout.netns("router")]
    child = subprocess.Popen([*inside, *command(layout, files, accelerator, memory_mib)], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    with socket.socket(socket.AF_UNIX) as control:
        while child.poll() is None:
            try:
                control.connect(str(vm.control_socket(layout)))
                break
            except OSError:
                time.sleep(0.05)
        else:
            return ""
        control.sendall(b'{"execute": "qmp_capabilities"}\n')
        with control.makefile("rb") as lines:
            said = reason([line for line in _until_end(lines) if b"SHUTDOWN" in line])
    child.wait()
    return said


def _until_end(lines: Iterable[bytes]) -> list[bytes]:
    found = []
    with contextlib.suppress(ConnectionError):  # killed
        for line in lines:
            found.append(line)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--accelerator", choices=("kvm", "tcg"), required=True)
    parser.add_argument("--memory-mib", type=int, default=vm.MEMORY_MIB)
    args = parser.parse_args()
    layout = Layout(args.name)
    while True:
        ended = one_boot(layout, args.accelerator, args.memory_mib)
        say(f"qemu ended: {ended or 'killed, or it could not start'}")
        if ended != "guest-reset":
            return 0 if ended == "guest-shutdown" else 1


if __name__ == "__main__":
    sys.exit(main())
