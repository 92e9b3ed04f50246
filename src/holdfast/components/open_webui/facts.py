"""What the machine says about Open WebUI: its secrets, and whether the running server still knows its own address."""

from __future__ import annotations

from typing import Any

from holdfast.operations.remote import PythonFact


def read_credentials(folder: str, database: str) -> Any:
    """Runs on the host: which files exist (else null), and which of them are root's alone. No content."""
    import os
    import stat

    def private(name: str) -> Any:
        try:
            st = os.lstat(os.path.join(folder, name))
        except OSError:
            return None
        return (
            stat.S_ISREG(st.st_mode)
            and stat.S_IMODE(st.st_mode) == 0o600
            and st.st_uid == st.st_gid == 0
            and st.st_size > 0
        )

    return {
        "secret": private("secret.env"), "password": private("admin-password"), "bootstrap": private("bootstrap.env"),
        "database": os.path.exists(database),
    }  # fmt: skip


class Credentials(PythonFact):
    """State of the secrets: ``secret``, ``password``, ``bootstrap`` (None: not there, False: too open or empty, True), and
    whether there is a ``database``. A ``bootstrap`` besides a database is left over from the first start."""

    reader = staticmethod(read_credentials)


def read_drift(origin: str, port: int, extra: list[str], unit: str, secret_file: str, files: list[str]) -> Any:
    """Runs on the host: in what the running server differs from what a restart would give it.

    Names only, for the secret is among them: variables, and those of ``files`` that were written after the server started
    (its unit, say, put right after somebody had changed it and restarted). ``origin``: source of origin.py (the one on the
    machine may be older).
    """
    import os
    import subprocess
    import time

    show = ["systemctl", "show", "-p", "MainPID", "--value", unit]
    try:
        pid = int(subprocess.run(show, capture_output=True, text=True).stdout)
        with open(f"/proc/{pid}/environ", "rb") as f:
            pairs = [p.partition(b"=") for p in f.read().split(b"\0")]
        with open(f"/proc/{pid}/stat") as stat:
            ticks = int(stat.read().rpartition(")")[2].split()[19])  # starttime, since boot: proc(5)
    except (OSError, ValueError):
        return {"running": False, "differs": []}
    running = {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, _, v in pairs}
    scope: dict[str, Any] = {"__name__": "origin"}
    exec(compile(origin, "origin.py", "exec"), scope)
    wanted = dict(scope["wanted"](port, extra, 0)[0])
    try:
        with open(secret_file) as secrets:
            for line in secrets:
                key, _, value = line.strip().partition("=")
                wanted.update({key: value} if value else {})
    except OSError:
        pass
    differs = sorted(k for k, v in wanted.items() if running.get(k) != v)
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    differs += [path for path in files if os.path.lexists(path) and os.lstat(path).st_mtime > started]
    return {"running": True, "differs": differs}


class Drift(PythonFact):
    """Running server against a fresh start; see read_drift."""

    reader = staticmethod(read_drift)
