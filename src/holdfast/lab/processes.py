"""The lab's own processes: started detached, told from all others by the nonce in their environment.

A pid alone may be someone else's by the time `down` looks (pid reuse); a nonce in the environment, which only this lab's
processes inherit, may not. It also finds the children of a start that was killed with SIGKILL and wrote nothing down.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.lab.layout import NONCE_VARIABLE


@dataclass(frozen=True)
class Process:
    """A detached process: ``start_ticks`` is field 22 of /proc/PID/stat (clock ticks since boot, proc(5))."""

    role: str
    pid: int
    start_ticks: int


def environment(nonce: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the lab's nonce in it."""
    return {**os.environ, **(extra or {}), NONCE_VARIABLE: nonce}


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start ticks, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the name in parentheses and may itself contain blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def alive(process: Process) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    found = _stat(process.pid)
    return found is not None and found[0] not in "ZX" and found[1] == process.start_ticks


def start(
    role: str, argv: Sequence[str | Path], *, nonce: str, log: Path, env: Mapping[str, str] | None = None
) -> Process:
    """Start ``argv`` in a session of its own, output appended to ``log``, and return at once."""
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(a) for a in argv]
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, sink, 1),
            (os.POSIX_SPAWN_DUP2, sink, 2),
        ]
        # posix_spawn and not Popen: nobody here waits for it, so there is no object to keep.
        pid = os.posix_spawnp(words[0], words, environment(nonce, env), file_actions=actions, setsid=True)
    except FileNotFoundError:
        raise HoldfastError(f"{words[0]} is not installed", fix=f"install the program {words[0]}") from None
    finally:
        os.close(sink)
    found = _stat(pid)
    return Process(role, pid, found[1] if found else 0)


def _has(pid: int, needle: bytes) -> bool:
    try:
        return needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def of_nonce(nonce: str) -> list[int]:
    """The pids of all live processes that carry this lab's nonce, this very process excepted."""
    needle = f"{NONCE_VARIABLE}={nonce}".encode()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if pid != os.getpid() and _has(pid, needle)]


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode, which tell namespaces apart (namespaces(7)); None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def in_netns(names: Sequence[str]) -> list[int]:
    """The pids of all processes inside these network namespaces, as `ip netns pids` finds them."""
    ours = {identity(f"/run/netns/{name}") for name in names} - {None, identity("/proc/self/ns/net")}
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()] if ours else []
    return [pid for pid in pids if identity(f"/proc/{pid}/ns/net") in ours]


def kill(pids: Sequence[int], number: int = signal.SIGKILL) -> None:
    """Signal these processes; those already gone are passed over, zombies among our own children are reaped."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    reap(pids)


def reap(pids: Sequence[int]) -> None:
    """Collect those of ``pids`` that are ended children of this process."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message; empty when there is none."""
    try:
        return "\n  ".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def wait_until(
    what: str, check: Callable[[], bool], *, seconds: float, process: Process | None = None, log: Path | None = None
) -> None:
    """Call ``check()`` until it is true.

    Raises HoldfastError with the end of ``log`` when ``process`` ends or ``seconds`` are over.
    """
    end = time.monotonic() + seconds
    while not check():
        reason = ""
        if process is not None and not alive(process):
            reap([process.pid])
            reason = f"{process.role} ended"
        elif time.monotonic() > end:
            reason = f"gave up after {seconds:g} s"
        if reason:
            words = tail(log) if log else ""
            raise HoldfastError(
                f"{what}: {reason}" + (f":\n  {words}" if words else ""),
                where=str(log or ""),
                fix="./holdfast down, then ./holdfast up; the log above says why it ended",
            )
        time.sleep(0.1)
