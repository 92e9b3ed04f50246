"""The leases on the machine: who holds what, and that their files are the instances' own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.remote import PythonFact, program, python_command


def read_leases(directory: str) -> Any:
    """Runs on the host: {"held": {resource: {"holder", "held_s", "waiting": [[instance, waits_s], …]}}, "prefer": null or
    {"instance", "left_s"}}. Seconds; holder "" for none; null where there is no such directory.

    By the kernel's list of locks: no file is opened that only the instances may open, and nobody is disturbed.
    """
    import json
    import os
    import time

    def load(name: str) -> dict[str, Any]:
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as f:
                found = json.load(f)
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def entries(path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError:
            return []

    if not os.path.isdir(directory):
        return None
    with open("/proc/locks", encoding="ascii") as f:
        rows = [line.split() for line in f]
    # "1: FLOCK ADVISORY WRITE 4711 00:19:1234 0 EOF"; a row with an arrow is somebody who waits in the kernel.
    locked = {tuple(row[5].split(":")) for row in rows if "->" not in row and row[1] == "FLOCK"}

    def held(entry: os.DirEntry[str]) -> bool:
        about = entry.stat(follow_symlinks=False)
        where = (f"{os.major(about.st_dev):02x}", f"{os.minor(about.st_dev):02x}", str(about.st_ino))
        return where in locked

    now = time.time()
    out: dict[str, Any] = {}
    prefer = load("prefer")
    left = float(prefer.get("until", 0)) - time.clock_gettime(time.CLOCK_BOOTTIME)
    first = str(prefer.get("instance", "")) if left > 0 else ""
    for entry in entries(directory):
        name, _, kind = entry.name.rpartition(".")
        if kind == "lease":
            who = load(f"{name}.holder") if held(entry) else None
            queue = [
                (e.name != first, e.stat().st_mtime, e.name)
                for e in entries(entry.path[: -len(kind)] + "queue")
                if held(e)
            ]
            out[name] = {
                "holder": "" if who is None else str(who.get("instance", "somebody")),
                "held_s": round(now - float(who.get("since", now)), 1) if who else 0.0,
                "waiting": [[role, round(now - since, 1)] for _, since, role in sorted(queue)],
            }
    return {"held": out, "prefer": {"instance": first, "left_s": round(left, 1)} if first else None}


class Leases(PythonFact):
    """Who holds which card, since when, and who waits; see read_leases."""

    reader = staticmethod(read_leases)


def tend_leases(directory: str, user: str, repair: bool) -> Any:
    """Runs on the host: which paths of the leases have another owner or mode than they must have; with ``repair`` they get it.

    None is ever made anew: whoever holds a lease would go on holding the file that was removed. "gone": there is no
    directory, and instances run, which cannot see one that is made now.
    """
    import os
    import pwd
    import stat
    import subprocess

    if not os.path.isdir(directory):
        words = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "ollama@*"]
        try:
            return ["gone"] if subprocess.run(words, capture_output=True, text=True).stdout.strip() else []
        except OSError:
            return []
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return [directory]
    wanted = {directory: (0o755, account.pw_uid)}
    for folder, folders, names in os.walk(directory):
        wanted |= {os.path.join(folder, name): (0o755, account.pw_uid) for name in folders}
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".lease") or folder.endswith(".queue"):
                wanted[path] = (0o600, account.pw_uid)
            elif name.endswith(".holder"):
                wanted[path] = (0o644, account.pw_uid)
    out = []
    for path, (mode, owner) in wanted.items():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # gone since, or no file of ours
        about = os.fstat(fd)
        if (stat.S_IMODE(about.st_mode), about.st_uid) != (mode, owner):
            out.append(path)
            if repair:
                os.fchown(fd, owner, account.pw_gid)
                os.fchmod(fd, mode)
        os.close(fd)
    return out


class LeaseFiles(PythonFact):
    """Paths of the leases that are not as they must be; see tend_leases."""

    reader = staticmethod(tend_leases)


@operation()
def own_leases(directory: str, user: str) -> Iterator[StringCommand]:
    """The leases belong to ``user`` and may be opened by nobody else: who can open one can lock it for good."""
    wrong = LeaseFiles.read(host, directory=directory, user=user, repair=False)
    if not wrong:
        host.noop("the leases are the instances' own")
    elif wrong == ["gone"]:
        yield StringCommand("systemctl try-restart 'ollama@*.service'")
    else:
        yield python_command(program(tend_leases, directory=directory, user=user, repair=True))
