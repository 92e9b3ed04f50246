"""The reader of encrypted disks: one function that travels with the driver's reader and runs on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read_passphrases(text: Callable[..., str], names: Callable[..., list[str]], link: Callable[..., str]) -> Any:
    """The encrypted disks that ask a person at boot, by name. ``text``, ``names``, ``link``: read a file, list a folder, where a
    link leads."""
    import os
    import re

    def alone(source: str, options: list[str]) -> bool:
        # A token wants to be touched; some scripts of cryptsetup's ask, too, whatever stands in the third field.
        script = next((o for o in options if o.startswith("keyscript=")), "")
        if script:
            return not re.search(r"keyctl|gnupg|opensc|_ssl|askpass", script)
        tpm = any(o.startswith("tpm2-device=") for o in options) and not {"tpm2-pin=yes", "tpm2-pin=true"} & {*options}
        return tpm or source not in ("none", "-", "") or bool({"noauto", "headless", "headless=true"} & {*options})

    passphrases, opened = [], set()
    for line in text("etc/crypttab").splitlines():
        words = line.split("#")[0].split()
        opened.update(words[:1])
        if len(words) > 1 and not alone("".join(words[2:3]), ",".join(words[3:]).split(",")):
            passphrases.append(words[0])
    mounts = {li.split()[1]: li.split()[0] for li in text("proc/mounts").splitlines() if len(li.split()) > 1}

    def crypts(mounted: str) -> list[str]:
        """The encrypted disks that a mounted one lies on (a volume on an encrypted disk)."""
        below = {os.path.basename(link(mounted) or mounted)} if mounted.startswith("/dev/") else set()
        below = {b for b in names("sys/class/block") if b in below or text("sys/class/block", b, "dm/name") in below}
        while more := {s for b in below for s in names("sys/class/block", b, "slaves")} - below:
            below |= more
        there = [b for b in sorted(below) if text("sys/class/block", b, "dm/uuid").startswith("CRYPT-")]
        return [text("sys/class/block", b, "dm/name") for b in there]

    # Also where no crypttab is read any more, since a hand-made initrd opens it, or Ubuntu's for ZFS (its key is on a disk).
    passphrases += [name for name in crypts(mounts.get("/", "")) if name not in opened]
    passphrases += [
        name for b in names("sys/class/block") if (name := text("sys/class/block", b, "dm/name")).startswith("keystore-")
    ]
    grub = "\n".join(text("etc/default", f) for f in ["grub", *(f"grub.d/{n}" for n in names("etc/default/grub.d"))])
    if re.search(r"^\s*GRUB_ENABLE_CRYPTODISK=[\"']?y", grub, re.M):
        # The boot loader asks before any crypttab is read, and takes no key from a file.
        passphrases += [n for n in crypts(mounts.get("/boot") or mounts.get("/", "")) if n not in passphrases]
    return passphrases
