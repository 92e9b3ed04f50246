"""Tailscale: its repository, its package, its daemon and its program, beside a control server that takes one-off keys."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import replace
from typing import Any

from tests.fake.debian import INSTALLED, VERSIONS
from tests.fake.machine import Failed, Machine, Tailnet, Unit, hears, runs
from tests.fake.software import download
from tests.fake.systemd import LIB, act, reload

from holdfast.components.tailscale.facts import read_node, read_repository
from holdfast.components.tailscale.repository import KEYRING, SOURCE
from holdfast.components.tailscale.steps import BASELINE
from holdfast.depot.lock import pin

DOMAIN = "tail.test"
UNIT = "tailscaled.service"
KEYRING_BYTES = b"the key that signs the repository"
KEYRING_SHA256 = hashlib.sha256(KEYRING_BYTES).hexdigest()
VERSION = pin("tailscale").version


@runs(read_repository)
def repository(m: Machine, keyring: str, source: str, stale: list[str]) -> Any:
    node = m.disk.get(keyring)
    return {
        "release": m.release, "keyring": hashlib.sha256(node.data).hexdigest() if node else "", "source": m.text(source),
        "stale": [path for path in stale if path in m.disk],
        "open": [path for path in (keyring, source) if path in m.disk and m.disk[path].mode != "644"],
    }  # fmt: skip


@hears(r"^install -d -m 755 (?P<folder>\S+) && .*fetch\.py (?P<url>\S+) (?P<size>\S+) (?P<sha>\S+) (?P<file>\S+) && chmod 644 ")
def keyring(m: Machine, found: re.Match[str], stdin: str) -> None:
    download(m, found["url"], found["sha"])
    m.change(f"fetch {found['file']}")
    m.write(found["file"], KEYRING_BYTES.decode())


@hears(r"^rm -f -- (?P<paths>.+)$")
def stale(m: Machine, found: re.Match[str], stdin: str) -> None:
    for path in shlex.split(found["paths"]):
        m.change(f"remove {path}")
        m.remove(path)


def offered(m: Machine) -> str:
    """apt knows the package once it has the source and the key that it names."""
    source = m.text(SOURCE) or ""
    return VERSION if f"Signed-By: {KEYRING}" in source and KEYRING in m.disk else ""


def installed(m: Machine) -> None:
    """The package's own script enables and starts the daemon."""
    m.write(f"{LIB}/{UNIT}", "[Service]\nType=notify\nExecStart=/usr/sbin/tailscaled\n")
    m.tailnet.preferences = m.tailnet.preferences or {
        **{k: v for k, v in BASELINE.items() if k != "remote-config"}, "accept-dns": True, "hostname": ""
    }  # fmt: skip
    m.units[UNIT] = replace(m.units.get(UNIT, Unit()), enabled=True)
    reload(m)
    act(m, "restart", UNIT)


VERSIONS["tailscale"] = offered
INSTALLED["tailscale"] = installed


def running(m: Machine) -> bool:
    return "tailscale" in m.packages and m.units.get(UNIT, Unit()).process is not None


def name(m: Machine) -> str:
    return f"{m.tailnet.preferences.get('hostname') or 'gpu-box'}.{DOMAIN}"


def status(m: Machine) -> dict[str, Any]:
    node = m.tailnet
    backend = "NeedsLogin" if not node.member else "Running" if node.up else "Stopped"
    me = {"DNSName": name(m) + ".", "Online": True} if node.member else {}
    return {"BackendState": backend, "TUN": True, "Self": me, "TailscaleIPs": ["100.64.0.1"] if node.member else None}


@runs(read_node)
def look(m: Machine, cli: list[str], settle_s: float, label: str) -> Any:
    out: dict[str, Any] = {"version": m.packages.get("tailscale", ""), "unit": m.units.get(UNIT, Unit()).state}
    if not running(m):
        return {**out, "status": None, "problem": "failed to connect to local tailscaled"}
    node = m.tailnet
    return {
        **out, "status": status(m), "problem": "", "control_url": node.control, "auto_update": node.auto_update,
        "preferences": node.preferences, "serve": node.serve,
    }  # fmt: skip


@hears(r"^(cat \| )?timeout -k 5 \d+ tailscale (?P<words>.+?)( </dev/null)?$")
def tailscale(m: Machine, found: re.Match[str], stdin: str) -> None:
    if not running(m):
        raise Failed("failed to connect to local tailscaled; it doesn't appear to be running")
    verb, *words = shlex.split(found["words"])
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    node = m.tailnet
    if verb == "up":
        up(m, flags, stdin)
    elif verb == "set":
        m.change("tailscale set")
        if "auto-update" in flags:
            node.auto_update = flags["auto-update"] == "true"
        known = {"true": True, "false": False}
        node.preferences = {**node.preferences, **{k: known.get(v, v) for k, v in flags.items()}}
    elif verb == "serve" and words == ["reset"]:
        m.change("tailscale serve reset")
        node.serve = {}
    elif verb == "serve":
        m.change("tailscale serve")
        scheme = next(s for s in ("http", "https") if s in flags)
        web = {f"{name(m)}:{flags[scheme]}": {"Handlers": {"/": {"Proxy": words[-1]}}}}
        node.serve = {"TCP": {flags[scheme]: {scheme.upper(): True}}, "Web": web}
    else:
        raise Failed(f"unknown subcommand: {verb}")


def up(m: Machine, flags: dict[str, str], stdin: str) -> None:
    node = m.tailnet
    if "auth-key" not in flags:
        assert not flags and node.member, "without a key: only to bring a member up, and without any flag"
        m.change("tailscale up")
        node.up = True
        return
    assert flags["auth-key"] == "file:/dev/stdin"
    if stdin not in m.keys or stdin in node.used:
        raise Failed("backend error: invalid key: API key does not exist")
    m.change("join")
    m.tailnet = Tailnet(
        member=True, up=True, control=flags.get("login-server", "https://controlplane.tailscale.com"),
        auto_update=node.auto_update, serve=node.serve, used=(*node.used, stdin),
        preferences={**node.preferences, "hostname": flags["hostname"], "accept-dns": flags["accept-dns"] == "true"},
    )  # fmt: skip
