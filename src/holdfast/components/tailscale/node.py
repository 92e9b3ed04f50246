"""A node of the tailnet as the machine itself reports it. Pure: JSON in, one immutable value out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TAILSCALE = "https://controlplane.tailscale.com"


@dataclass(frozen=True)
class Node:
    """What is known of the machine's tailnet membership; the defaults are a bare machine."""

    version: str = ""
    """Version of the installed package; "" when there is none."""
    unit: str = ""
    """ActiveState of tailscaled.service."""
    backend: str = ""
    """ipn.State of tailscaled (NoState, NeedsLogin, NeedsMachineAuth, Stopped, Starting, Running …); "": no answer."""
    problem: str = ""
    """Why there is no answer."""
    name: str = ""
    """Full name in the tailnet, lower case, without the dot at its end."""
    addresses: tuple[str, ...] = ()
    online: bool = False
    tun: bool = True
    """False: user-space networking, where every loopback port of the machine is open to the tailnet."""
    control_url: str = ""
    auto_update: bool | None = None
    """None: never decided, so the tailnet's own default holds."""
    health: tuple[str, ...] = ()
    preferences: dict[str, Any] = field(default_factory=dict)
    """By the names of `tailscale set`."""
    serve: dict[str, Any] = field(default_factory=dict)
    """As `tailscale serve status --json` prints it."""

    @property
    def member(self) -> bool:
        """True when tailscaled holds an identity in some tailnet, whether or not it is up."""
        return self.backend in ("Stopped", "Starting", "Running", "NeedsMachineAuth")

    @property
    def control(self) -> str:
        """The control server, comparable."""
        return comparable(self.control_url)


def comparable(url: str) -> str:
    """A control server's address in one form: Tailscale's own is "" in settings and spelled out in preferences."""
    url = url.rstrip("/").lower()
    return TAILSCALE if url in ("", "https://login.tailscale.com") else url


def parse(found: dict[str, Any] | None) -> Node:
    """The Node in what ``read_node`` printed; None (a machine without python3) is a bare machine."""
    if not found:
        return Node()
    status = found.get("status") or {}
    me = status.get("Self") or {}
    return Node(
        version=found.get("version") or "",
        unit=found.get("unit") or "",
        backend=status.get("BackendState") or "",
        problem=found.get("problem") or "",
        name=(me.get("DNSName") or "").rstrip(".").lower(),
        addresses=tuple(status.get("TailscaleIPs") or ()),
        online=bool(me.get("Online")),
        tun=bool(status.get("TUN", True)),
        control_url=found.get("control_url") or "",
        auto_update=found.get("auto_update"),
        health=tuple(status.get("Health") or ()),
        preferences=found.get("preferences") or {},
        serve=found.get("serve") or {},
    )
