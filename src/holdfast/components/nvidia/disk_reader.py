"""The reader of encrypted disks: one function that travels with the driver's reader and runs on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read_passphrases(
    root: str, text: Callable[..., str], names: Callable[..., list[str]], link: Callable[..., str], container: bool
) -> Any:
    """The encrypted disks that ask a person at boot, by name. ``text``, ``names``, ``link``: read a file, list a folder, where a
    link leads; ``container``: its root may lie on its host's ZFS, which nobody here can be asked about."""
    import os
    import re
    import subprocess

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
    lines = [words for li in text("proc/mounts").splitlines() if len(words := li.split()) > 2]
    mounts, kinds = {words[1]: words[0] for words in lines}, {words[1]: words[2] for words in lines}

    def crypts(mounted: str) -> list[str]:
        """The encrypted disks that a mounted one lies on (a volume on an encrypted disk)."""
        below = {os.path.basename(link(mounted) or mounted)} if mounted.startswith("/dev/") else set()
        below = {b for b in names("sys/class/block") if b in below or text("sys/class/block", b, "dm/name") in below}
        while more := {s for b in below for s in names("sys/class/block", b, "slaves")} - below:
            below |= more
        there = [b for b in sorted(below) if text("sys/class/block", b, "dm/uuid").startswith("CRYPT-")]
        return [text("sys/class/block", b, "dm/name") for b in there]

    def zfs(dataset: str) -> dict[str, str]:
        """What ZFS itself says of its encryption; a recorded tree has it in a file."""
        if root != "/":
            said = text("zfs", dataset.replace("/", "-"))
        else:
            command = ["zfs", "get", "-H", "-o", "property,value", "encryption,encryptionroot,keylocation", dataset]
            try:
                said = subprocess.run(
                    command, capture_output=True, text=True, timeout=30, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
                ).stdout
            except (OSError, subprocess.SubprocessError):
                said = ""
        return {words[0]: words[1] for line in said.splitlines() if len(words := line.split("\t")) == 2}

    def zfs_asks(dataset: str) -> bool:
        # https://openzfs.github.io/openzfs-docs/man/master/7/zfsprops.7.html; only the encryption's root knows where the key is.
        told = zfs(dataset)
        if told.get("encryption") == "off":
            return False
        above = told.get("encryptionroot", dataset)
        where = (told if above == dataset else zfs(above)).get("keylocation", "")
        # What boots from the encrypted dataset itself has had its key from a person before. What is not told counts as asking.
        return not (where.startswith(("file:", "http:", "https:")) and "/boot" in mounts)

    # Also where no crypttab is read any more, since a hand-made initrd opens it, or Ubuntu's for ZFS (its key is on a disk).
    passphrases += [name for name in crypts(mounts.get("/", "")) if name not in opened]
    keys = [n for b in names("sys/class/block") if (n := text("sys/class/block", b, "dm/name")).startswith("keystore-")]
    passphrases += keys
    if kinds.get("/") == "zfs" and not container and not keys and zfs_asks(mounts["/"]):
        passphrases.append(mounts["/"])
    grub = "\n".join(text("etc/default", f) for f in ["grub", *(f"grub.d/{n}" for n in names("etc/default/grub.d"))])
    if re.search(r"^\s*GRUB_ENABLE_CRYPTODISK=[\"']?y", grub, re.M):
        # The boot loader asks before any crypttab is read, and takes no key from a file.
        passphrases += [n for n in crypts(mounts.get("/boot") or mounts.get("/", "")) if n not in passphrases]
    return passphrases
