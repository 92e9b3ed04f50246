"""What the serial console tells of one boot: how a reset came about, which qemu does not say.

A kernel that panics resets the machine, as a reboot does, and qemu says guest-reset of both. Debian's initrd has no driver of a
device that would tell them apart (pvpanic); the console is there from the first line on.
"""

from __future__ import annotations

import re
from pathlib import Path

# kernel/panic.c; at every log level, and the last thing that is written.
_PANIC = re.compile(r"^.*?(Kernel panic - not syncing.*?)\s*$", re.MULTILINE)
# systemd's first words from the disk; the initrd of initramfs-tools has none.
_SYSTEMD = re.compile(r"^[^\n]*\] systemd\[1\]: ", re.MULTILINE)


def size(log: Path) -> int:
    """Where in the console's log the next boot begins, in bytes."""
    return log.stat().st_size if log.exists() else 0


def since(log: Path, offset: int) -> str:
    """What has come since: the text of one boot."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def panic(text: str) -> str:
    """The last panic's own line, without its time; "" without any."""
    found = _PANIC.findall(text)
    return found[-1] if found else ""


def reached_user_space(text: str) -> bool:
    """Whether systemd was started from the disk."""
    return _SYSTEMD.search(text) is not None
