"""The reader of the driver's state: one function that travels to the machine as source and runs there."""

from __future__ import annotations

from typing import Any

from holdfast.components.nvidia.boot_reader import read_boot
from holdfast.components.nvidia.card_reader import read_cards
from holdfast.components.nvidia.disk_reader import read_passphrases
from holdfast.components.nvidia.key_reader import read_key
from holdfast.components.nvidia.module_reader import read_module, told_by_modinfo
from holdfast.components.nvidia.names import beginnings, kinds
from holdfast.components.nvidia.package_reader import read_packages
from holdfast.operations.remote import taking


def read_machine(root: str) -> Any:
    """Runs on the host, and on a folder that looks like one: files below ``root``.

    Neither nvidia-smi, lspci, lsmod, dkms nor mokutil is asked: they are missing or fail in just the states that matter
    (and mokutil's exit code means the opposite from one release to the next). modinfo alone is run, for a module that
    DKMS does not know.
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

    def link(*parts: str) -> str:
        try:
            return os.readlink(path(*parts))
        except OSError:
            return ""

    def names(*parts: str) -> list[str]:
        try:
            return sorted(os.listdir(path(*parts)))
        except OSError:
            return []

    def written(*parts: str) -> float:
        try:
            return os.stat(path(*parts)).st_mtime
        except OSError:
            return 0.0

    def whole(*parts: str) -> bool:
        # A full /boot leaves an empty file.
        try:
            return os.stat(path(*parts)).st_size > 0
        except OSError:
            return False

    def efi(pattern: str) -> bytes:
        # efivarfs puts four bytes of attributes before the value; a long list is in several variables.
        files = sorted(glob.glob(path("sys/firmware/efi/efivars", pattern)))
        return b"".join(read(os.path.relpath(f, root))[4:] for f in files)

    running = text("proc/sys/kernel/osrelease") or os.uname().release
    cards, withheld = read_cards(root, text, names, link), []
    # Of systemd-nspawn and LXC, Docker, Podman.
    container = any(os.path.exists(path(f)) for f in ("run/systemd/container", ".dockerenv", "run/.containerenv"))
    # Some clouds name their own kernels so, too; Windows hands its cards on by a device that is none of NVIDIA's.
    windows = "microsoft" in running.lower() and not cards["gpus"]
    if container and not os.path.exists(path("dev/nvidiactl")):
        cards["gpus"], withheld = [], [gpu["address"] for gpu in cards["gpus"]]

    libraries = set()
    # Debian keeps the real files deeper (nvidia/current, nvidia/tesla-535), and an alternative says which of them counts.
    deeper, chosen = "usr/lib/x86_64-linux-gnu/nvidia", os.path.basename(link("etc/alternatives/nvidia"))
    there = [name for name in names(deeper) if any(n.startswith("libcuda.so") for n in names(deeper, name))]
    kept = [chosen] if chosen in there else there
    for folder in ("usr/lib/x86_64-linux-gnu", *(f"{deeper}/{name}" for name in kept)):
        for name in names(folder):
            if found := re.fullmatch(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)?)", name):
                libraries.add(found.group(1))

    # -- kernels and their modules ---------------------------------------------------------------------------------
    locked = re.search(r"\[(integrity|confidentiality)\]", text("sys/kernel/security/lockdown"))
    enforced = bool(locked) or text("sys/module/module/parameters/sig_enforce") == "Y"
    # Secure Boot counts as off when shim was told not to validate.
    secure = efi("SecureBoot-8be4df61-*") == b"\1" and efi("MokSBStateRT-605dab50-*") != b"\1"

    def headers(kernel: str) -> bool:
        build = link("lib/modules", kernel, "build")
        folders = [f"usr/src/linux-headers-{kernel}", f"lib/modules/{kernel}/build"]
        return any(map(names, [*folders, build] if build.startswith("/") else folders))

    away = written("etc/modprobe.d/holdfast-nvidia.conf")
    images = [n[len("vmlinuz-") :] for n in names("boot") if n.startswith("vmlinuz-")]
    images = [k for k in images if not re.search(r"\.(old|bak|dpkg-\w+|signed|unsigned)$", k)]
    kernels = {}
    for kernel in {*images, running}:
        initrd = written("boot", "initrd.img-" + kernel) if whole("boot", "initrd.img-" + kernel) else 0.0
        kernels[kernel] = {
            "bootable": kernel in images, "initrd": initrd > 0, "current": initrd >= away, "headers": headers(kernel),
            **read_module(root, kernel, text, names, enforced or secure),
        }  # fmt: skip

    def free_mib() -> int | None:
        if root != "/":  # a recorded tree
            return int(said) if (said := text("boot.free_mib")).isdecimal() else None
        try:
            found = os.statvfs("/boot")
        except OSError:
            return None
        return found.f_bavail * found.f_frsize >> 20

    # -- DKMS: why a build failed ----------------------------------------------------------------------------------
    failures = []
    for log in glob.glob(path("var/lib/dkms/nvidia*/*/build/make.log")):
        parts = os.path.relpath(log, path("var/lib/dkms")).split(os.sep)
        said = text(os.path.relpath(log, root))
        for_kernel = re.search(r"for kernel (\S+)", said)
        telling = [li for li in said.splitlines() if re.search(r" error: |\berror:|^ERROR|\*\*\* .*(Error|Stop)", li)]
        if telling:
            line = re.sub(r"^\S*/build/", "", telling[0].strip())[:240]
            failures.append({
                "module": parts[0], "version": parts[1], "kernel": for_kernel[1] if for_kernel else "", "line": line,
                "log": "/" + os.path.relpath(log, root),
            })  # fmt: skip

    # -- who has the device open -----------------------------------------------------------------------------------
    holders = []
    for pid in filter(str.isdigit, names("proc")):
        if any(link("proc", pid, "fd", fd).startswith("/dev/nvidia") for fd in names("proc", pid, "fd")):
            group = text("proc", pid, "cgroup").partition("::")[2].splitlines()
            last = group[0].rpartition("/")[2] if group and "/user.slice/" not in group[0] else ""
            holders.append({
                "pid": int(pid), "name": text("proc", pid, "comm"), "unit": last if last.endswith(".service") else "",
            })  # fmt: skip

    packages = read_packages(text, names)
    release = dict(line.split("=", 1) for line in text("etc/os-release").splitlines() if "=" in line)
    return {
        **cards,
        "release": {name: value.strip("\"'") for name, value in release.items()},
        "boot_id": text("proc/sys/kernel/random/boot_id"),
        "container": container,
        "withheld": withheld,
        "wsl": windows,
        "module": text("sys/module/nvidia/version"),
        "open_module": "Open Kernel Module" in text("proc/driver/nvidia/version"),
        "uvm": os.path.isdir(path("sys/module/nvidia_uvm")),
        "drm_users": int(users) if (users := text("sys/module/nvidia_drm/refcnt")).isdecimal() else 0,
        "libraries": sorted(libraries),
        "kernel": running,
        "kernels": kernels,
        "boot": read_boot(text, names, efi),
        "boot_free_mib": free_mib(),
        "reboot_for": sorted(set(text("run/reboot-required.pkgs").split()))
        or (["?"] if os.path.exists(path("run/reboot-required")) else []),
        "secure_boot": secure,
        "signatures_enforced": enforced,
        **read_key(read, efi, [of["signer"] for of in kernels.values()]),
        "packages": packages["packages"],
        "broken_packages": packages["broken"],
        "failures": failures,
        "holders": holders,
        "stopped": text("run/holdfast/nvidia-stopped").split(),
        "passphrases": read_passphrases(root, text, names, link, container),
    }


taking(
    read_machine, read_cards, read_passphrases, read_boot, read_key, read_module, told_by_modinfo, read_packages, beginnings,
    kinds,
)  # fmt: skip
