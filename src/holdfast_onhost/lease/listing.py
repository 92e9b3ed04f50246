"""`llama-server --list-devices`: what the real llama-server would use, seen through the same environment."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

_LINE = re.compile(r"^\s+(\w+): (.*) \((\d+) MiB, (\d+) MiB free\)\s*$", re.M)
_TIMEOUT_S = 60.0  # a lost card can make CUDA's start slow


@dataclass(frozen=True)
class Device:
    """One device in CUDA's order; memory in MiB, as a process that has just opened the card sees it."""

    name: str  # CUDA0
    description: str
    total_mib: int
    free_mib: int

    def __str__(self) -> str:
        return f"{self.name} {self.description}"


def parse(text: str) -> list[Device]:
    """The devices in what `llama-server --list-devices` prints."""
    return [Device(m[1], m[2], int(m[3]), int(m[4])) for m in _LINE.finditer(text)]


def devices(program: str) -> list[Device]:
    """What `program` lists; nothing if it cannot be asked."""
    try:
        done = subprocess.run(
            [program, "--list-devices", "--offline"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, errors="replace", timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return parse(done.stdout)


def complaint() -> str:
    """The first line of `nvidia-smi -L`: the cards, or why the driver has none ("Driver/library version mismatch")."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "nothing: it hangs, as it does when a card is lost"
    except OSError as error:
        return f"{error.strerror}"
    return (done.stdout.strip().splitlines() or ["nothing"])[0]


def users() -> str:
    """Which processes have memory on the cards, for a message; empty if nobody says so."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ""
