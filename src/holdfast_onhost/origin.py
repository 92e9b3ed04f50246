"""Under which addresses is Open WebUI opened? Runs before each start of the unit and writes them for it.

Open WebUI answers a browser only when the page's address ("origin") is in CORS_ALLOW_ORIGIN; under any other one the page
loads, the login works, and no answer ever appears. The public address is the machine's name in the tailnet, which only
tailscaled knows, and the scheme and port that ``tailscale serve`` publishes: so they are read here, on the machine, as late
as possible. Without a tailnet only the loopback addresses are allowed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

OUTPUT = "/run/holdfast/open-webui/origin.env"
# The name that was read last. A machine that starts faster than its network would else come up with no public address.
LAST_NAME = "/var/lib/holdfast/open-webui/name"
COMING = ("NoState", "Starting")  # ipn.State of tailscaled: the name is not known yet, but will be
SOCKET = "/run/tailscale/tailscaled.sock"  # there while the daemon runs


def tailscale(*words: str) -> dict[str, Any]:
    """The answer of the tailscale program as an object; {} where it or its daemon is not there.

    A daemon that is there and does not answer, as on a machine that is busy with its boot, is one that starts.
    """
    try:
        done = subprocess.run(["tailscale", *words], capture_output=True, text=True, timeout=10)
        answer = json.loads(done.stdout) if done.returncode == 0 else {}
    except OSError:
        return {}
    except (ValueError, subprocess.SubprocessError):
        answer = {}
    if answer and isinstance(answer, dict):
        return answer
    return {"BackendState": COMING[0]} if os.path.exists(SOCKET) else {}


def read_status(wait_s: float) -> dict[str, Any]:
    """``tailscale status``, after at most ``wait_s`` seconds for a daemon that is still on its way."""
    end = time.monotonic() + wait_s
    while True:
        status = tailscale("status", "--json", "--peers=false")
        if status.get("BackendState") not in COMING or time.monotonic() >= end:
            return status
        time.sleep(0.5)


def name_of(status: dict[str, Any], last: str) -> str:
    """The machine's full name in the tailnet, without the dot at its end; ``last`` while it is still on its way."""
    name = str((status.get("Self") or {}).get("DNSName") or "").rstrip(".").lower()
    return name or (last if status.get("BackendState") in COMING else "")


def _is_ours(target: Any, port: int) -> bool:
    return str(target or "").rstrip("/").rpartition("//")[2] in ("127.0.0.1:%d" % port, "localhost:%d" % port)


def published(serve: dict[str, Any], port: int) -> list[tuple[str, int]]:
    """Scheme and port of each address that ``tailscale serve`` maps to 127.0.0.1:``port``: [("https", 443), …]."""
    found = set()
    tcp = serve.get("TCP") or {}
    for address, site in (serve.get("Web") or {}).items():
        number = address.rpartition(":")[2]
        handlers = (site or {}).get("Handlers") or {}
        if any(_is_ours((handler or {}).get("Proxy"), port) for handler in handlers.values()):
            found.add(("https" if (tcp.get(number) or {}).get("HTTPS") else "http", int(number)))
    for number, entry in tcp.items():
        if _is_ours((entry or {}).get("TCPForward"), port):
            found.add(("https" if entry.get("TerminateTLS") else "http", int(number)))
    return sorted(found, reverse=True)


def environment(name: str, pairs: list[tuple[str, int]], port: int, extra: list[str]) -> dict[str, str]:
    """What Open WebUI is to know, in order: public addresses, further ones (``extra``), loopback."""
    public: list[str] = []
    for scheme, number in pairs if name else []:
        suffix = "" if number == {"http": 80, "https": 443}[scheme] else ":%d" % number
        # The full name, and the short one: MagicDNS knows both, and a browser takes them for two different pages.
        public += ["%s://%s%s" % (scheme, host, suffix) for host in dict.fromkeys((name, name.partition(".")[0]))]
    public += [e for e in extra if e not in public]
    local = ["http://127.0.0.1:%d" % port, "http://localhost:%d" % port]
    # A cookie marked Secure is dropped by a browser that came over http: only when every address is https.
    secure = bool(public) and all(p.startswith("https:") for p in public)
    return {
        "CORS_ALLOW_ORIGIN": ";".join(public + local),
        "WEBUI_URL": (public + local)[0],
        "WEBUI_SESSION_COOKIE_SECURE": "true" if secure else "false",
    }


def write(path: str, text: str) -> None:
    """Replace ``path`` in one step; it appears whole or not at all, for everybody to read."""
    # The unit's UMask=0077 holds for its ExecStartPre, too, and would close /run/holdfast to all others.
    before = os.umask(0o022)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    os.umask(before)
    with open(path + ".new", "w") as f:
        f.write(text)
        os.fchmod(f.fileno(), 0o644)
    os.replace(path + ".new", path)


def read(path: str) -> str:
    """The text of ``path`` without its line end; empty where there is none."""
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return ""


def wanted(port: int, extra: list[str], wait_s: float, last_name: str = LAST_NAME) -> tuple[dict[str, str], str]:
    """The environment for now, and the machine's name that it rests on."""
    status = read_status(wait_s)
    name = name_of(status, read(last_name))
    return environment(name, published(tailscale("serve", "status", "--json"), port) if name else [], port, extra), name


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="of Open WebUI on 127.0.0.1")
    parser.add_argument(
        "--extra", action="append", default=[], metavar="ORIGIN", help="a further address, as scheme://host[:port]"
    )
    parser.add_argument(
        "--wait", type=float, default=20, metavar="SECONDS", help="for a tailscaled that is still starting"
    )
    parser.add_argument("--output", default=OUTPUT)
    parser.add_argument("--last-name", default=LAST_NAME, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    values, name = wanted(args.port, args.extra, args.wait, args.last_name)
    write(args.output, "".join('%s="%s"\n' % item for item in values.items()))
    if name and name != read(args.last_name):
        write(args.last_name, name + "\n")
    print("open under: " + values["CORS_ALLOW_ORIGIN"].replace(";", " "))
    return 0


if __name__ == "__main__":
    sys.exit(main())
