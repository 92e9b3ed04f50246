#!/usr/bin/python3
"""holdfast-gpu: who has which GPU, since when, and who waits; and a person's override of whose turn it is.

holdfast-gpu                            the same as status
holdfast-gpu status [--json]
holdfast-gpu prefer ROLE [--for 30m]    ROLE goes first and is not asked to give way while it is busy; expires
holdfast-gpu prefer none
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import time
from dataclasses import asdict, dataclass, field

if __package__ in (None, ""):  # run by its path, perhaps through a link: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from holdfast_onhost.lease import preference

LEASES = "/run/holdfast/lease"
ROLES = "/etc/holdfast/ollama"  # ROLE.env of each instance
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Waiting:
    """An instance in the queue; `since` in seconds since 1970."""

    instance: str
    since: float


@dataclass(frozen=True)
class Resource:
    """A GPU, or whatever else instances share: its holder ("" for none) and who waits, the first one first."""

    name: str
    holder: str
    since: float
    waiting: list[Waiting] = field(default_factory=list)


def locked() -> set[tuple[int, int]]:
    """(device, inode) of every file that a process has locked with flock, from /proc/locks.

    Unlike a try to lock it, this needs no permission on the file and disturbs nobody.
    """
    out = set()
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if "->" not in words and words[1] == "FLOCK":
                major, minor, inode = words[5].split(":")
                out.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return out


def resources(directory: str) -> list[Resource]:
    """What the leases in `directory` say now.  Raises OSError if it cannot be read."""
    names = os.listdir(directory)
    taken = locked()
    preferred = preference.read(directory)[0]

    def held(path: str) -> os.stat_result | None:
        try:
            about = os.stat(path)
        except OSError:
            return None
        return about if (about.st_dev, about.st_ino) in taken else None

    out = []
    for name in sorted({n.rpartition(".")[0] for n in names if n.endswith((".lease", ".queue"))}):
        holder, since = "", 0.0
        if held(os.path.join(directory, name + ".lease")):
            holder, since = _holder(os.path.join(directory, name + ".holder"))
        queue = os.path.join(directory, name + ".queue")
        files = {n: held(os.path.join(queue, n)) for n in (os.listdir(queue) if os.path.isdir(queue) else [])}
        # The ticket is written, and the file's time with it, when the wait begins.
        waiting = [Waiting(n, about.st_mtime) for n, about in files.items() if about]
        out.append(Resource(name, holder, since, sorted(waiting, key=lambda w: (w.instance != preferred, w.since))))
    return out


def _holder(path: str) -> tuple[str, float]:
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
        return str(told["instance"]), float(told["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "somebody", 0.0  # it has just taken it and not said so yet


def lines(found: list[Resource], preferred: tuple[str, float], now: float) -> list[str]:
    """For a person."""
    out = []
    for resource in found:
        who = f"held by {resource.holder} since {_when(resource.since, now)}" if resource.holder else "free"
        queue = ", ".join(f"{w.instance} waits since {_when(w.since, now)}" for w in resource.waiting)
        out.append(f"{resource.name}: {who}; {queue or 'nobody waits'}")
    if preferred[0]:
        out.append(f"preferred: {preferred[0]}, for another {_long(preferred[1])}")
    return out or ["no GPU has been asked for since the machine started"]


def _when(at: float, now: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at):%H:%M:%S} ({_long(now - at)})"


def _long(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def duration(text: str) -> float:
    """30m, 2h, 45s, 1d in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not 0 < float(found[1]) * _UNITS[found[2]] <= 7 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time up to 7d; write 45s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def prefer(directory: str, roles: list[str], role: str, seconds: float) -> str:
    """Returns what is so now.  Raises ValueError, OSError."""
    if role == "none":
        preference.forget(directory)
        return "nobody is preferred"
    if role not in roles:
        raise ValueError(f"there is no instance {role!r}; there are: {', '.join(roles) or 'none'}, and the word none")
    preference.write(directory, role, seconds)
    return f"{role} goes first for {_long(seconds)}"


def main(arguments: list[str] | None = None) -> int:
    text = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="holdfast-gpu", description=text[0].partition(": ")[2], epilog=text[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--directory", default=LEASES, help=argparse.SUPPRESS)
    parser.add_argument("--roles", default=ROLES, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb")
    status = verbs.add_parser("status", help="who has which GPU, and who waits")
    status.add_argument("--json", action="store_true")
    choice = verbs.add_parser("prefer", help="whose turn comes first")
    choice.add_argument("role", metavar="ROLE|none")
    choice.add_argument("--for", dest="seconds", type=duration, default=duration("30m"), metavar="TIME", help="30m")
    given = parser.parse_args(arguments)
    try:
        if given.verb == "prefer":
            # Not the trial of a role's next model, "next.ROLE": it is gone in a moment.
            roles = sorted(n[:-4] for n in os.listdir(given.roles) if n.endswith(".env") and "." not in n[:-4])
            print(prefer(given.directory, roles, given.role, given.seconds))
            return 0
        found, preferred = resources(given.directory), preference.read(given.directory)
    except PermissionError as error:
        print(f"error: {error.filename}: {error.strerror}\nFix: the same with sudo", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"error: {error.filename} is not there\nFix: sudo systemctl start ollama@ROLE makes it", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}\nFix: holdfast-gpu --help", file=sys.stderr)
        return 1
    if given.verb == "status" and given.json:
        until = {"instance": preferred[0], "seconds_left": round(preferred[1])} if preferred[0] else None
        print(json.dumps({"gpus": [asdict(resource) for resource in found], "prefer": until}))
    else:
        print("\n".join(lines(found, preferred, time.time())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
