"""Folders that look like machines. The states and their files: measured on Debian 13 with 550.163.01."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.components.nvidia.facts import from_json, read_machine
from holdfast.components.nvidia.machine import Machine

OLD, NEW = "6.12.107+deb13-amd64", "6.12.117+deb13-amd64"
V, N = "550.163.01", "580.178.04"
GPUS = {"left": "0000:01:00.0", "right": "0000:02:00.0"}
EFI = "sys/firmware/efi/efivars"
SECURE_BOOT = f"{EFI}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM_IGNORES = f"{EFI}/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
ENROLLED = f"{EFI}/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23"
TO_ENROL = f"{EFI}/MokNew-605dab50-e046-4300-abb6-3dd810dd8b23"
KEY = b"\x30\x82 the certificate of this machine's own key"

Files = dict[str, str | bytes]


def card(address: str, kind: str = "0x030000", device: str = "0x2204") -> Files:
    at = f"sys/bus/pci/devices/{address}"
    return {f"{at}/vendor": "0x10de\n", f"{at}/class": f"{kind}\n", f"{at}/device": f"{device}\n"}


CARDS = {**card("0000:01:00.0"), **card("0000:02:00.0")}
AUDIO = card("0000:01:00.1", "0x040300")
NOUVEAU: Files = {"sys/module/nouveau/x": ""}
ENFORCED: Files = {"sys/module/module/parameters/sig_enforce": "Y\n"}
OWN_KEY: Files = {"var/lib/dkms/mok.pub": KEY}


def boot(*kernels: str, initrd: bool = True) -> Files:
    kinds = ("vmlinuz", "initrd.img") if initrd else ("vmlinuz",)
    return {f"boot/{kind}-{k}": "x" for k in kernels for kind in kinds}


def headers(kernel: str) -> Files:
    return {f"usr/src/linux-headers-{kernel}/Makefile": "x"}


def module(kernel: str, version: str, name: str = "updates/dkms/nvidia-current.ko.xz") -> Files:
    """A recorded tree has the version beside the file, in place of 40 MB of module."""
    return {f"lib/modules/{kernel}/{name}": "x", f"lib/modules/{kernel}/{name}.version": version}


def library(version: str, folder: str = "nvidia/current/") -> Files:
    return {f"usr/lib/x86_64-linux-gnu/{folder}libcuda.so.{version}": "x"}


def loaded(version: str, kind: str = "x86_64 Kernel Module ") -> Files:
    words = f"NVRM version: NVIDIA UNIX {kind} {version}  Tue Apr  8\n"
    modules = {"sys/module/nvidia/version": f"{version}\n", "sys/module/nvidia_uvm/version": version}
    return {**modules, "proc/driver/nvidia/version": words}


def package(name: str, version: str = "1.0", status: str = "install ok installed", maintainer: str = "Debian") -> str:
    return f"Package: {name}\nStatus: {status}\nMaintainer: {maintainer}\nVersion: {version}\n\n"


def dpkg(*stanzas: str) -> Files:
    return {"var/lib/dpkg/status": "".join(stanzas)}


def debian(codename: str = "trixie") -> Files:
    return {"etc/os-release": f'ID=debian\nVERSION_CODENAME="{codename}"\n'}


def ubuntu(codename: str = "noble") -> Files:
    return {"etc/os-release": f"ID=ubuntu\nVERSION_CODENAME={codename}\nUBUNTU_CODENAME={codename}\n"}


def make_log(kernel: str, version: str = V, name: str = "nvidia-current") -> Files:
    text = (
        f"DKMS make.log for {name}-{version} for kernel {kernel} (x86_64)\nmake: Entering directory\n"
        f"/var/lib/dkms/{name}/{version}/build/nvidia/nv-pci.c:237:5: error: too few arguments to function\n"
        "make[2]: *** [nv-pci.o] Error 1\n"
    )
    return {f"var/lib/dkms/{name}/{version}/build/make.log": text}


def holder(pid: int, name: str, group: str) -> Files:
    at = f"proc/{pid}"
    return {f"{at}/comm": f"{name}\n", f"{at}/cgroup": f"0::{group}\n"}


def tree(root: Path, files: Files, kernel: str = OLD, links: dict[str, str] | None = None) -> Path:
    for name, content in {"proc/sys/kernel/osrelease": kernel, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, target in (links or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, root / name)
    return root


def read(root: Path, files: Files, kernel: str = OLD, links: dict[str, str] | None = None) -> Machine:
    return from_json(read_machine(str(tree(root, files, kernel, links))))


READY: Files = {**CARDS, **boot(OLD), **module(OLD, V), **library(V), **loaded(V)}
