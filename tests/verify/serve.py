"""Reading what `tailscale serve status --json` prints."""

from __future__ import annotations

from typing import Any


def funnelled(serve: Any) -> list[str]:
    """The addresses that a serve configuration opens to the internet, at any depth of it."""
    if not isinstance(serve, dict):
        return []
    own = [where for where, on in (serve.get("AllowFunnel") or {}).items() if on]
    return own + [where for key, inner in serve.items() if key != "AllowFunnel" for where in funnelled(inner)]


def targets(serve: dict[str, Any]) -> list[str]:
    """All that a serve configuration leads to, one line each."""
    out = [f"{site}{path} -> {(h or {}).get('Proxy') or h}" for site, web in (serve.get("Web") or {}).items()
           for path, h in (web.get("Handlers") or {}).items()]  # fmt: skip
    out += [f"tcp {port} -> {e['TCPForward']}" for port, e in (serve.get("TCP") or {}).items() if e.get("TCPForward")]
    for part in ("Foreground", "Services"):
        for name, inner in (serve.get(part) or {}).items():
            out += [f"{part} {name}: {line}" for line in targets(inner)]
    return sorted(out)
