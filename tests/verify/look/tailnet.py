"""Runs on the machine: the node of the tailnet, in tailscale's own words. No key leaves the machine."""

import http.client
import json
import subprocess
import sys

PREFS = (
    "ControlURL", "RouteAll", "ExitNodeID", "ExitNodeIP", "CorpDNS", "RunSSH", "RunWebClient", "AdvertiseRoutes", "ShieldsUp",
    "AutoUpdate", "AppConnector", "PostureChecking", "NetfilterMode", "OperatorUser", "LoggedOut", "WantRunning",
    "RelayServerPort", "AdvertiseServices", "Hostname",
)  # fmt: skip


def run(*words):
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return 127, "", str(error)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def ask(*words):
    code, out, err = run("tailscale", *words)
    try:
        return json.loads(out)
    except ValueError:
        return {"problem": f"status {code}: {(err or out)[:300]}"}


def page(address, port, name):
    """Open WebUI as the tailnet opens it; the name is part of what `tailscale serve` looks at."""
    connection = http.client.HTTPConnection(address, port, timeout=15)
    try:
        connection.request("GET", "/ready", headers={"Host": name})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


status = ask("status", "--json")
prefs = ask("debug", "prefs")
serve = ask("serve", "status", "--json")
me = status.get("Self") or {}
addresses = me.get("TailscaleIPs") or []
name = (me.get("DNSName") or "").rstrip(".")
opened = {}
for port, entry in (serve.get("TCP") or {}).items():
    if entry.get("HTTP") and addresses:
        opened[port] = page(addresses[0], int(port), name)
json.dump({
    "backend": status.get("BackendState", ""), "online": me.get("Online"), "name": name, "addresses": addresses,
    "health": status.get("Health") or [], "key_expiry": me.get("KeyExpiry"), "tags": me.get("Tags") or [],
    "tun": status.get("TUN"), "problem": status.get("problem", ""),
    "version": run("tailscale", "version")[1].splitlines()[:1],
    "package": run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "tailscale")[1],
    "programs": run("sha256sum", "/usr/bin/tailscale", "/usr/sbin/tailscaled")[1],
    "prefs": {key: prefs.get(key) for key in PREFS},
    "serve": serve, "opened": opened,
}, sys.stdout)  # fmt: skip
