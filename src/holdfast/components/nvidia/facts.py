"""What the machine has of NVIDIA: its cards before python3 is there, and then modules, libraries, kernels. Files only.

A container sees its host's whole /sys, cards that it cannot use included; its own devices are in /dev. Both readers here
count a card only where it can be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyinfra.api import FactBase

from holdfast.components.nvidia.machine import Machine, parse
from holdfast.operations.remote import PythonFact

_READ = """
for d in /sys/bus/pci/devices/*; do
  [ -r "$d/vendor" ] && [ "$(cat "$d/vendor")" = 0x10de ] && echo "card ${d##*/} $(cat "$d/class")"
done
[ -e /run/systemd/container ] && echo container
[ -e /dev/nvidiactl ] && echo control
echo end
"""


@dataclass(frozen=True)
class Cards:
    """PCI addresses ("0000:01:00.0") of NVIDIA's display devices that this machine may use."""

    addresses: tuple[str, ...]


class NvidiaCards(FactBase[Cards]):
    """One round trip, POSIX sh: also before there is a driver, or python3."""

    def command(self) -> str:
        return _READ

    def process(self, output: list[str]) -> Cards:
        lines = [line.split() for line in output]
        # Class 03xxxx is a display; a card's sound device has the same vendor.
        cards = [parts[1] for parts in lines if parts[:1] == ["card"] and parts[2].startswith("0x03")]
        foreign = ["container"] in lines and ["control"] not in lines
        return Cards(() if foreign else tuple(sorted(cards)))

    @staticmethod
    def default() -> Cards:
        return Cards(())


def read_machine(root: str) -> Any:
    """Runs on the host, and on a folder that looks like one: files below ``root``, no command.

    Neither nvidia-smi nor lspci is asked: the first is missing or fails in just the states that matter, the second is not
    installed everywhere. lsmod is not either: a kernel without loadable modules has no /proc/modules.
    """
    import glob
    import os
    import re

    def path(*parts: str) -> str:
        return os.path.join(root, *(p.lstrip("/") for p in parts))

    def read(*parts: str) -> bytes:
        try:
            with open(path(*parts), "rb") as f:
                return f.read()
        except OSError:
            return b""

    def text(*parts: str) -> str:
        return read(*parts).decode("utf-8", "replace").strip()

    def efi(name: str) -> bool:
        # efivarfs puts four bytes of attributes before the value.
        return read("sys/firmware/efi/efivars", name)[4:5] == b"\1"

    gpus = []
    for device in sorted(glob.glob(path("sys/bus/pci/devices/*"))):
        address = os.path.basename(device)
        at = f"sys/bus/pci/devices/{address}"
        # Class 03 is a display controller: the card's audio function has the same vendor and class 04.
        if text(at, "vendor") == "0x10de" and text(at, "class").startswith("0x03"):
            link = os.path.join(device, "driver")
            driver = os.path.basename(os.readlink(link)) if os.path.islink(link) else ""
            gpus.append({"address": address, "device": text(at, "device"), "driver": driver})
    if os.path.exists(path("run/systemd/container")) and not os.path.exists(path("dev/nvidiactl")):
        gpus = []

    libraries = set()
    # Debian keeps the real file one folder deeper, behind its alternatives.
    for folder in ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/nvidia/current"):
        for file in glob.glob(path(folder, "libcuda.so.*")):
            found = re.search(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)?)$", file)
            if found:
                libraries.add(found.group(1))

    broken, package = [], ""
    for line in text("var/lib/dpkg/status").splitlines():
        if line.startswith("Package: "):
            package = line[9:].strip()
        elif line.startswith("Status: "):
            _, flag, state = [*line.split()[1:], "", "", ""][:3]
            if flag != "ok" or state in (
                "half-configured", "half-installed", "unpacked", "triggers-awaited", "triggers-pending"
            ):  # fmt: skip
                broken.append(package)

    lockdown = text("sys/kernel/security/lockdown")
    kernels = [os.path.basename(f)[len("vmlinuz-") :] for f in glob.glob(path("boot/vmlinuz-*"))]
    return {
        "gpus": gpus,
        "nouveau": os.path.isdir(path("sys/module/nouveau")),
        "module": text("sys/module/nvidia/version"),
        "open_module": "Open Kernel Module" in text("proc/driver/nvidia/version"),
        "libraries": sorted(libraries),
        "kernel": text("proc/sys/kernel/osrelease") or os.uname().release,
        "kernels": kernels,
        "initrds": [k for k in kernels if os.path.exists(path("boot", "initrd.img-" + k))],
        # Secure Boot counts as off when shim was told not to validate.
        "secure_boot": efi("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
        and not efi("MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"),
        "signatures_enforced": text("sys/module/module/parameters/sig_enforce") == "Y"
        or "[integrity]" in lockdown
        or "[confidentiality]" in lockdown,
        "broken_packages": broken,
    }


class NvidiaState(PythonFact):
    """The machine's cards and driver; see read_machine. Its value, through ``machine``, is a Machine."""

    reader = staticmethod(read_machine)

    @classmethod
    def machine(cls, host: Any) -> Machine | None:
        """None on a machine without python3, of which nothing is known yet."""
        found = cls.read(host, root="/")
        return None if found is None else parse(found)
