#!/usr/bin/python3
"""devices.py --output FILE: which GPUs may the unit that is about to start use?

Reads HOLDFAST_CARDS ("NAME=PCI-ADDRESS …") and HOLDFAST_REQUIRE_GPU (yes|no) from the unit's environment, turns addresses
into UUIDs, and writes CUDA_VISIBLE_DEVICES to FILE, an EnvironmentFile of the unit; and the same as HOLDFAST_GPUS, since
Ollama hands CUDA_VISIBLE_DEVICES to llama-server with the cards in it that it has chosen itself (llm/llama_server.go).
Addresses are what a person can declare before there is a driver; UUIDs are what CUDA takes without ambiguity (ollama
docs/gpu.mdx).  A driver that is still loading is waited for (ggml-org/llama.cpp#27923: a server that starts before nvidia-uvm
is on the CPU for good).

Without all of the declared GPUs it refuses, or, where HOLDFAST_REQUIRE_GPU is no, writes -1: the CPU, said aloud.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_NVIDIA = "0x10de"
_UUID = re.compile(r"GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ADDRESS = re.compile(r"(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_POLL_S = 1.0


@dataclass(frozen=True)
class Gpu:
    """A declared card: the person's name for it, and where it sits."""

    name: str
    address: str  # 0000:01:00.0

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


@dataclass(frozen=True)
class Found:
    """What the machine says about one card: its UUID, or why it cannot be used; and whether waiting may help."""

    uuid: str = ""
    problem: str = ""
    fix: str = ""
    may_come: bool = False


def normal(address: str) -> str:
    """Four digits of domain, as sysfs names it; nvidia-smi has eight, lspci none."""
    domain, rest = address.lower().split(":", 1) if address.count(":") == 2 else ("0", address.lower())
    return f"{int(domain, 16):04x}:{rest}"


def declared(text: str) -> list[Gpu]:
    """HOLDFAST_CARDS as a list."""
    gpus = []
    for entry in text.split():
        name, _, address = entry.partition("=")
        if not name or not _ADDRESS.fullmatch(address.lower()):
            raise ValueError(f"HOLDFAST_CARDS: {entry!r} is not NAME=PCI-ADDRESS")
        gpus.append(Gpu(name, normal(address)))
    return gpus


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def nvidia_smi() -> str:
    """One line a card: PCI address, UUID.  Asking wakes a card that nobody has opened since boot."""
    query = ["nvidia-smi", "--query-gpu=pci.bus_id,uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def uuids(root: str, ask: Callable[[], str] = nvidia_smi) -> dict[str, str]:
    """PCI address -> UUID for every card that the driver has, from /proc and, where that does not know, nvidia-smi.

    /proc/driver/nvidia/gpus/ADDRESS/information shows question marks until the card has been opened once.
    """
    out = {}
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    addresses = os.listdir(folder) if os.path.isdir(folder) else []
    for address in addresses:
        found = _UUID.search(_read(os.path.join(folder, address, "information")))
        if found:
            out[normal(address)] = found[0]
    if not addresses or len(out) < len(addresses):
        for line in ask().splitlines():
            place, _, rest = line.partition(",")
            found = _UUID.search(rest)
            if found and _ADDRESS.fullmatch(place.strip().lower()):
                out[normal(place.strip())] = found[0]
    return out


def look(gpu: Gpu, root: str, known: Mapping[str, str]) -> Found:
    """One card, by sysfs, then the driver, then the device files that CUDA opens."""
    device = os.path.join(root, "sys/bus/pci/devices", gpu.address)
    vendor = _read(os.path.join(device, "vendor")).strip()
    if vendor != _NVIDIA:
        what = f"a device of vendor {vendor}, not NVIDIA's," if vendor else "no device"
        return Found(
            problem=f"there is {what} at that address", fix="lspci -D | grep -i nvidia; correct gpus in hosts.yml"
        )
    if gpu.address not in known:
        return Found(problem="no NVIDIA driver has it", fix="nvidia-smi says why; install the driver (docs/hardware.md)",
                     may_come=True)  # fmt: skip
    number = minor(gpu, root)
    for node in ("nvidiactl", "nvidia-uvm", *([f"nvidia{number}"] if number else [])):
        if not os.path.exists(os.path.join(root, "dev", node)):
            return Found(problem=f"/dev/{node} is missing", fix=f"modprobe nvidia-uvm; nvidia-modprobe -u -c {number or 0}",
                         may_come=True)  # fmt: skip
    return Found(uuid=known[gpu.address])


def minor(gpu: Gpu, root: str) -> str:
    """The number in the name of the card's own device file; empty where the driver does not say it."""
    about = _read(os.path.join(root, "proc/driver/nvidia/gpus", gpu.address, "information"))
    found = re.search(r"^Device Minor:\s*([0-9]+)\s*$", about, re.MULTILINE)
    return found[1] if found else ""


def _prepare(gpus: list[Gpu], root: str) -> None:
    """Device files are made on demand by a setuid helper, which a hardened unit may not run."""
    commands = [] if os.path.exists(os.path.join(root, "dev/nvidia-uvm")) else [["modprobe", "nvidia-uvm"]]
    numbers = [minor(gpu, root) or "0" for gpu in gpus]
    missing = [number for number in numbers if not os.path.exists(os.path.join(root, f"dev/nvidia{number}"))]
    commands += [["nvidia-modprobe", "-u", "-c", number] for number in missing or (["0"] if commands else [])]
    for command in commands:
        try:
            subprocess.run(command, capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.SubprocessError):
            continue


def resolve(gpus: list[Gpu], root: str, wait_s: float, ask: Callable[[], str] = nvidia_smi) -> dict[Gpu, Found]:
    """All declared cards; waits up to `wait_s` seconds for those whose driver is on its way."""
    end = time.monotonic() + wait_s
    while True:
        known = uuids(root, ask)
        found = {gpu: look(gpu, root, known) for gpu in gpus}
        left = [state for state in found.values() if not state.uuid]
        if not left or any(not state.may_come for state in left) or time.monotonic() >= end:
            return found
        if root == "/":
            _prepare(gpus, root)
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


def decide(found: Mapping[Gpu, Found], required: bool) -> tuple[str | None, list[str]]:
    """The value of CUDA_VISIBLE_DEVICES (None: do not start), and what to tell."""
    missing = {gpu: state for gpu, state in found.items() if not state.uuid}
    if found and not missing:
        return ",".join(state.uuid for state in found.values()), [f"GPUs: {', '.join(map(str, found))}"]
    told = [f"GPU {gpu}: {state.problem}" for gpu, state in missing.items()] or ["no GPU is declared for this instance"]
    if not required:
        return "-1", [*told, "require_gpu is false: running on the CPU"]
    fixes = list(dict.fromkeys(state.fix for state in missing.values())) or ["name GPUs for it in hosts.yml"]
    return None, [
        *(f"error: {line}" for line in told),
        f"Fix: {'; '.join(fixes)}, or set require_gpu: false for the CPU",
    ]


def gpu_is_required(environment: Mapping[str, str]) -> bool:
    """HOLDFAST_REQUIRE_GPU: the CPU is allowed only where that is said in so many words."""
    return environment.get("HOLDFAST_REQUIRE_GPU", "yes").lower() not in ("no", "0", "false")


def write(path: str, value: str) -> None:
    """Whole or not at all."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(f"CUDA_VISIBLE_DEVICES={value}\nHOLDFAST_GPUS={value}\n")
    os.replace(path + ".new", path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="devices.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", required=True, metavar="FILE")
    parser.add_argument("--wait", type=float, default=60, metavar="SECONDS", help="for a driver that is still loading")
    parser.add_argument("--root", default="/", metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    os.umask(0o022)  # the unit's own is for its own files; this folder is shared
    if os.path.exists(given.output):
        os.unlink(given.output)  # a start that is refused must not find yesterday's answer
    required = gpu_is_required(os.environ)
    try:
        gpus = declared(os.environ.get("HOLDFAST_CARDS", ""))
    except ValueError as error:
        print(f"error: {error}\nFix: ./holdfast up HOST writes it anew", file=sys.stderr)
        return 1
    found = resolve(gpus, given.root, given.wait if required else 0.0)
    value, told = decide(found, required)
    for line in told:
        print(line, file=sys.stderr)
    if value is None:
        return 1
    write(given.output, value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
