"""Where a lab's virtual machine keeps its things, and what it is made of."""

from __future__ import annotations

from pathlib import Path

from holdfast.lab.layout import Layout

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 4096
DISK_GIB = 32  # a sparse file
ROOM_GIB = 8  # the tree and, for a moment beside it, the disk that is made of it; half of that was measured
BOOT_SECONDS = 1200  # in software: 87 s on two processors that have time, 600 and more where many want them
# The disk's label: the kernel's command line and /etc/fstab name the disk by it.
LABEL = "holdfast"


def patience(accelerator: str) -> dict[str, dict[str, int]]:
    """What the machine's block of hosts.yml says more in software: Open WebUI alone computes for minutes until it answers."""
    return {"open_webui": {"start_timeout_s": 1800}} if accelerator == "tcg" else {}


def folder(layout: Layout) -> Path:
    return layout.folder / "vm"


def disk(layout: Layout) -> Path:
    return folder(layout) / "disk.img"


def pid_file(layout: Layout) -> Path:
    """qemu's own; kill -9 of this process is a power cut."""
    return folder(layout) / "qemu.pid"


def failure(layout: Layout) -> Path:
    """Why the last power supply gave up, as JSON (`HoldfastError.data`); there only if it did."""
    return folder(layout) / "failure.json"


def serial_log(layout: Layout) -> Path:
    """What kernel and systemd say on the console, of all boots."""
    return layout.logs / "console.log"


def control_socket(layout: Layout) -> Path:
    """qemu's control socket; short, as `Layout.sockets` is."""
    return layout.sockets / "qemu"


def command_line(layout: Layout) -> Path:
    """Further words for the kernel's command line, read at each boot."""
    return folder(layout) / "cmdline"
