"""What else the machine says meanwhile: its processes, the cards, the journal. Raw texts; they are read where they are judged."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import Any

CARD = (
    "uuid,pci.bus_id,name,driver_version,memory.used,memory.total,power.draw,power.limit,power.default_limit,temperature.gpu,"
    "clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,pcie.link.gen.current,pcie.link.gen.max,pcie.link.width.current,"
    "pcie.link.width.max,pstate,utilization.gpu"
)
# The name last: it is the only one that may have a comma in it, and nvidia-smi puts nothing in quotes.
APPS = "gpu_uuid,pid,used_memory,process_name"
# Why the clocks are down. The first name is that of driver 535 and later, and older ones know only the second.
EVENTS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_EVERY_S = 1.0


def processes(unit: str) -> dict[int, list[str]]:
    """The unit's processes with their words, the children's too."""
    out = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                mine = any(unit in line.strip().split("/") for line in file)
            if mine:
                with open(f"/proc/{pid}/cmdline", "rb") as raw:
                    out[int(pid)] = raw.read().decode("utf-8", "replace").split("\0")[:-1]
        except OSError:
            continue
    return out


def working(unit: str, seconds: float = 1.0) -> float:
    """How much of a processor core the unit's llama-servers use: about 0 when nothing is generated."""
    before, start = _ticks(unit), time.monotonic()
    if not before:
        return 0.0
    time.sleep(seconds)
    after = _ticks(unit)
    used = sum(after[pid] - before[pid] for pid in after if pid in before)
    return float(used / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start))


def _ticks(unit: str) -> dict[int, int]:
    return {pid: _used(pid) for pid, words in processes(unit).items() if "--model" in words}


class Others:
    """How much of the processor goes to others from here to ``share``: between 0 and 1 of all of it."""

    def __init__(self, unit: str) -> None:
        self.own = {*processes(unit), *_descendants(os.getpid())}
        self.begin = self._now()

    def share(self) -> float:
        """What neither the unit nor anything that we have started used, and what the host of a virtual machine took away."""
        busy, all_of_it, own = (after - before for after, before in zip(self._now(), self.begin, strict=True))
        return max(0.0, (busy - own) / all_of_it) if all_of_it else 0.0

    def _now(self) -> tuple[int, int, int]:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, idle, wait, *rest = map(int, file.readline().split()[1:9])
        busy = user + nice + system + sum(rest)
        return busy, busy + idle + wait, sum(_used(pid) for pid in self.own)


def _used(pid: int) -> int:
    """Ticks of the processor; 0 for a process that is gone."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    """It, its children, theirs."""
    parents = {int(p): int(fields[1]) for p in filter(str.isdigit, os.listdir("/proc")) if (fields := _stat(int(p)))}
    out = [pid]
    for one in out:
        out += [child for child, parent in parents.items() if parent == one]
    return out


def smi(kind: str, fields: str) -> dict[str, str]:
    """nvidia-smi's table (``kind``: gpu or compute-apps) as CSV without header and units, or why there is none."""
    words = ["nvidia-smi", f"--query-{kind}={fields}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return {"text": "", "problem": str(error)[:300]}
    problem = (
        "" if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}")
    )
    return {"text": "" if problem else done.stdout, "problem": problem[:300]}


def events() -> dict[str, str]:
    """Each card's UUID, and what holds its clocks down."""
    found = {"text": "", "problem": ""}
    for name in EVENTS:
        found = smi("gpu", f"uuid,{name}")
        if not found["problem"]:
            break
    return found


def look(unit: str, models: Any) -> dict[str, Any]:
    """All of it at one moment. ``models``: asks /api/ps."""
    return {
        "apps": smi("compute-apps", APPS), "pids": sorted(processes(unit)), "cards": smi("gpu", CARD), "events": events(),
        "models": models(),
    }  # fmt: skip


class Watch:
    """Looks at once and then every second, from the first token of a generation to its end."""

    def __init__(self, unit: str, models: Any) -> None:
        self.unit, self.models = unit, models
        self.seen: list[dict[str, Any]] = []
        self.problem = ""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """The first look, at once."""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No further look; one that is under way is not counted."""
        self._over.set()
        if self._thread:
            self._thread.join(120)

    def _look(self) -> None:
        while not self._over.is_set():
            try:
                found = look(self.unit, self.models)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"[:300]
                return
            # What was begun during the generation may have been answered after it, when somebody else had the cards.
            if not self._over.is_set():
                self.seen.append(found)
            self._over.wait(_EVERY_S)


def journal(unit: str, since: float, sudo: list[str]) -> dict[str, str]:
    """The lines of the unit's journal since then (seconds since 1970) that say where the layers went."""
    # Rounded down: the line stands at the beginning of a load, and may be of the same second.
    words = [*sudo, "journalctl", "-u", unit, f"--since=@{int(since)}", "-o", "cat", "--no-pager", "-q"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        return {"text": "", "problem": str(error)[:300]}
    problem = "" if done.returncode == 0 else (done.stderr.strip() or f"status {done.returncode}")
    lines = [line[:300] for line in done.stdout.splitlines() if "offload" in line or "buffer size" in line]
    return {"text": "\n".join(lines[-400:]), "problem": problem[:300]}


def processor() -> str:
    """What kind of processor, and how many of its threads this machine has."""
    name = "processor"
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} threads"
