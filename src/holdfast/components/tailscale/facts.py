"""What the machine says of its tailnet membership, and of its apt: each one round trip."""

from __future__ import annotations

from typing import Any

from holdfast.components.tailscale.node import Node, parse
from holdfast.operations.remote import PythonFact

# The program as it is installed; a list, so that a test can talk to a daemon of its own (["tailscale", "--socket=…"]).
CLI = ("tailscale",)


def read_node(cli: list[str], settle_s: float, label: str) -> Any:
    """Runs on the host: package, unit, and what tailscaled answers.

    A daemon that has just been started says NoState for a second: up to ``settle_s`` seconds are given to it. With a
    ``label``, a running node gets five until its name begins with that label: a rename takes a moment, and a control
    server may refuse it for good.
    """
    import json
    import subprocess
    import time

    def run(argv: list[str]) -> tuple[int, str, str]:
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.SubprocessError) as error:
            return 127, "", str(error)
        return done.returncode, done.stdout, done.stderr.strip()

    def ask(*words: str) -> Any:
        code, out, _ = run([*cli, *words])
        try:
            return json.loads(out) if code == 0 else None
        except ValueError:
            return None

    def status() -> tuple[Any, str]:
        _, out, err = run([*cli, "status", "--json", "--peers=false"])
        try:
            return json.loads(out), ""
        except ValueError:
            return None, err or out.strip()

    _, version, _ = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "tailscale"])
    words = version.split()
    _, unit, _ = run(["systemctl", "show", "-p", "ActiveState", "--value", "tailscaled.service"])
    out: dict[str, Any] = {"version": words[1] if words[:1] == ["installed"] else "", "unit": unit.strip()}
    start = time.monotonic()
    while True:
        found, problem = status()
        backend = (found or {}).get("BackendState")
        name = ((found or {}).get("Self") or {}).get("DNSName") or ""
        renamed = not label or backend != "Running" or name.startswith(label + ".")
        # No answer at all is not waited for where nothing is installed or the unit does not run.
        hopeless = found is None and out["unit"] not in ("active", "activating")
        coming = found is None or backend in ("NoState", "Starting")
        limit = settle_s if coming else 5 if not renamed else 0
        if hopeless or time.monotonic() - start >= limit:
            break
        time.sleep(0.25)
    out.update(status=found, problem=problem)
    if found is not None:
        # `debug prefs` alone has the control server's address and whether auto-update was ever decided. tailscaled takes
        # the keys out of it; only these two values leave the machine all the same.
        prefs = ask("debug", "prefs") or {}
        out["control_url"] = prefs.get("ControlURL") or ""
        out["auto_update"] = (prefs.get("AutoUpdate") or {}).get("Apply")
        out["preferences"] = ask("get", "--json")
        out["serve"] = ask("serve", "status", "--json")
    return out


class TailnetNode(PythonFact):
    """The machine as a node of the tailnet; see read_node. Its value, through ``node``, is a Node."""

    reader = staticmethod(read_node)

    @classmethod
    def node(cls, host: Any, *, cli: tuple[str, ...] = CLI, settle_s: float = 0, label: str = "") -> Node:
        """The node; ``settle_s`` in seconds. A bare machine reads as a node without a version."""
        return parse(cls.read(host, cli=list(cli), settle_s=settle_s, label=label))


def read_repository(keyring: str, source: str, stale: list[str]) -> Any:
    """Runs on the host: the distribution, and what is there of an apt repository's two files and of their rivals."""
    import hashlib
    import os

    def read(path: str) -> bytes | None:
        try:
            with open(path, "rb") as f:
                return f.read()
        except OSError:
            return None

    def wrong(path: str) -> bool:
        """There, and not root's with mode 0644."""
        if not os.path.exists(path):
            return False
        st = os.stat(path)
        return (st.st_mode & 0o7777, st.st_uid) != (0o644, 0)

    release = {}
    for line in (read("/etc/os-release") or b"").decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip().strip("\"'")
    key_bytes, text = read(keyring), read(source)
    return {
        "release": release,
        "keyring": "" if key_bytes is None else hashlib.sha256(key_bytes).hexdigest(),
        "source": None if text is None else text.decode("utf-8", "replace"),
        "open": [path for path in (keyring, source) if wrong(path)],
        "stale": [path for path in stale if os.path.lexists(path)],
    }


class AptRepository(PythonFact):
    """The distribution and one apt repository's files; see read_repository."""

    reader = staticmethod(read_repository)
