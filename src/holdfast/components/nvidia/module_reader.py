"""The reader of one kernel's NVIDIA module: functions that travel with the driver's reader and run on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read_module(root: str, kernel: str, text: Callable[..., str], names: Callable[..., list[str]], verified: bool) -> Any:
    """The module that modprobe would load for ``kernel``: {"module": version, "signer", "signed", "built", "hidden"}.

    ``text``, ``names``: read a file, list a folder. ``verified``: signatures count on this machine, and are read; else ``signed``
    is None. ``built``: on the machine, by DKMS; ``hidden``: the version of another of that name, which this one hides.
    """
    import glob
    import os
    import re
    import subprocess

    # Debian calls it nvidia-current; every kernel has an nvidia-wmi-ec-backlight, which is something else.
    right = re.compile(r"(nvidia(?:-current|-current-open|-open|-tesla[\w-]*)?)\.ko(?:\.xz|\.zst|\.gz)?")

    def version_of(file: str, name: str) -> dict[str, Any]:
        built = "/updates/" in file
        if root != "/" and (recorded := text(os.path.relpath(file + ".version", root))):
            # A recorded tree has it beside the file, and the signer, where that was read (an empty one for no signature).
            told = os.path.exists(file + ".signer")
            signer = text(os.path.relpath(file + ".signer", root))
            return {"module": recorded, "signer": signer, "signed": bool(signer) if told else None, "built": built}
        links = sorted(
            glob.glob(os.path.join(root, "var/lib/dkms/nvidia*", f"kernel-{kernel}-*")), key=lambda f: f"/{name}/" not in f
        )
        by_dkms = os.readlink(links[0]).split("/")[0] if links and built else ""
        if by_dkms and not verified:
            return {"module": by_dkms, "signer": "", "signed": None, "built": built}
        try:
            # Decompresses all of it: a second and more for what DKMS knows by a link.
            said = subprocess.run(
                ["modinfo", file], capture_output=True, text=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
            ).stdout
        except OSError:
            said = ""
        found = told_by_modinfo(said)
        return {**found, "module": found["module"] or by_dkms or "unknown", "built": built}

    files = []
    for folder, _, found in os.walk(os.path.join(root, "lib/modules", kernel)):
        files += [(os.path.join(folder, f), m[1]) for f in found if (m := right.fullmatch(f))]
    if not files:
        return {"module": "", "signer": "", "signed": None, "built": False, "hidden": ""}
    # Debian's modprobe.d says which of its modules stands for nvidia.
    rules = "\n".join(text("etc/modprobe.d", n) for n in names("etc/modprobe.d") if n.endswith(".conf"))
    renamed = re.search(r"^\s*install\s+nvidia\s[^\n]*\s(nvidia-[\w-]+)(?:\s|$)", rules, re.M)
    first = renamed[1] if renamed and any(name == renamed[1] for _, name in files) else "nvidia"
    # As depmod searches: what DKMS has built comes before what the kernel's packages bring.
    files.sort(key=lambda f: (f[1] != first, "/updates/" not in f[0], f[0]))
    (file, name), others = files[0], [f for f, n in files[1:] if n == files[0][1]]
    return {**version_of(file, name), "hidden": version_of(others[0], name)["module"] if others else ""}


def told_by_modinfo(said: str) -> Any:
    """What `modinfo FILE` tells of version and signature; ``signed``: None where it told nothing at all."""
    fields = {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in said.splitlines()) if colon}
    signed = any(name == "signer" or name.startswith("sig_") for name in fields) if fields else None
    return {"module": fields.get("version", ""), "signer": fields.get("signer", ""), "signed": signed}
