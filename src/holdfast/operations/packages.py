"""Debian packages: one fact, apt's lock waited for with progress, no questions, no surprise restarts."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, FunctionCommand, StringCommand, operation

from holdfast import apt
from holdfast.errors import HoldfastError
from holdfast.operations.events import emit
from holdfast.operations.failing import report
from holdfast.operations.remote import PythonFact

# sh, because this operation is what installs python3 on a bare machine.
_QUERY = "dpkg-query -W -f '${{binary:Package}} ${{Version}} ${{db:Status-Abbrev}}\\n' {names} 2>/dev/null; true"


class Installed(FactBase[dict[str, str]]):
    """Installed packages: ``{name: version}``; half-installed ones are left out. Without python3: by sh alone."""

    default = dict

    def command(self, packages: list[str]) -> StringCommand:
        return StringCommand(_QUERY.format(names=" ".join(map(shlex.quote, packages))))

    def process(self, output: list[str]) -> dict[str, str]:
        out = {}
        for line in output:
            name, version, status = (*line.split(), "", "")[:3]
            # "ii" installed, "hi" installed and held; anything else is not usable.
            if status[1:2] == "i":
                out[name.split(":")[0]] = version
        return out


def read_apt_lock() -> Any:
    """Runs on the host: who holds apt's or dpkg's lock, or None."""
    import fcntl
    import os

    for path in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
        try:
            with open(path, "r+b") as f:
                try:
                    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    inode = os.fstat(f.fileno()).st_ino
                    with open("/proc/locks") as locks:
                        held = [line.split() for line in locks if line.split()[5].endswith(f":{inode}")]
                    pid = held[0][4] if held else "?"
                    try:
                        with open(f"/proc/{pid}/comm") as comm:
                            return f"{comm.read().strip()} (pid {pid})"
                    except OSError:
                        return f"pid {pid}"
        except OSError:
            continue
    return None


class AptLock(PythonFact):
    """Who holds apt's lock, in words; None when it is free (or python3 is missing)."""

    reader = staticmethod(read_apt_lock)


def wait_for_apt(state: Any, host: Any, timeout_s: float) -> bool:
    """Wait until nobody holds apt's lock; False, with the holder reported, after ``timeout_s`` seconds."""
    start = time.monotonic()
    while holder := AptLock.read(host):
        spent = time.monotonic() - start
        if spent > timeout_s:
            report(host, HoldfastError(f"apt is still held by {holder} after {timeout_s:g} s", where=host.name,
                                       fix="let it finish, or end it, then the same command again"))  # fmt: skip
            return False
        emit("waiting", host=host.name, what=f"apt, held by {holder}", seconds=round(spent, 1))
        time.sleep(2)
    return True


def missing(wanted: Sequence[str], installed: dict[str, str]) -> list[str]:
    """Those of ``wanted`` (``name`` or ``name=version``) that are not installed so."""
    out = []
    for item in wanted:
        name, _, version = item.partition("=")
        if name not in installed or (version and installed[name] != version):
            out.append(item)
    return out


def install_script(packages: Sequence[str], timeout_s: int) -> str:
    """The shell script that installs ``packages``. Repairs an interrupted dpkg first; refreshes lists when it must."""
    install = apt.script("--allow-downgrades", "install", *packages, wait_s=timeout_s)
    update = apt.script("update", wait_s=timeout_s)
    mend = apt.script("--no-remove", "--fix-broken", "install", wait_s=timeout_s)
    return (
        f"{apt.exports()}; "
        # A dpkg that was cut off has left its last changes in a journal; apt refuses everything until they are taken in.
        '[ -z "$(dpkg --audit; ls /var/lib/dpkg/updates 2>/dev/null | grep "^[0-9]")" ] || '
        # As above, an edited configuration file stays as it is: dpkg would ask, and there is nobody to answer.
        f"out=$(dpkg {' '.join(apt.KEEP)} --configure -a 2>&1) || "
        # Unpacked before its dependencies were: these are fetched.
        f'out=$({mend} 2>&1) || {{ echo "$out" | tail -n 15 >&2; exit 1; }}; '
        f"out=$({install} 2>&1) && exit 0; "
        f'out=$({update} 2>&1) || {{ echo "$out" | tail -n 15 >&2; exit 1; }}; '
        f'out=$({install} 2>&1) || {{ echo "$out" | tail -n 15 >&2; exit 1; }}'
    )


@operation()
def packages(packages: Sequence[str], lock_timeout_s: int = 600) -> Iterator[StringCommand | FunctionCommand]:
    """Install what is missing. ``name=version`` pins a version. ``lock_timeout_s`` in seconds."""
    names = [p.partition("=")[0] for p in packages]
    todo = missing(packages, host.get_fact(Installed, packages=names) or {})
    if not todo:
        host.noop(f"{len(packages)} packages are installed")
        return
    yield FunctionCommand(wait_for_apt, (lock_timeout_s,), {})
    yield StringCommand(install_script(todo, lock_timeout_s))
