"""From what the node is to what it shall be: the next steps. Pure; `operations` takes them, reads the node again, asks again.

Tailscale's own verbs are no fixed point: `tailscale up` with a key on a running node reconnects it, and wants every
non-default flag named again. So the node's state decides which verb is right, and a node that is right gets none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.components.tailscale.node import Node, comparable

# What a workstation never is: a router, an exit, an SSH server of Tailscale's, remotely configured, or operated by a user.
# `webclient` would open port 5252, `relay-server-port` a UDP port on all interfaces, `shields-up` would block `serve` too.
# Only those that the installed version knows are set (`remote-config` came with 1.102 and not in every build).
BASELINE: dict[str, bool | str] = {
    "accept-routes": False,
    "advertise-connector": False,
    "advertise-exit-node": False,
    "advertise-routes": "",
    "auto-update": False,
    "exit-node": "",
    "netfilter-mode": "on",
    "operator": "",
    "relay-server-port": "",
    "remote-config": False,
    "report-posture": False,
    "shields-up": False,
    "ssh": False,
    "webclient": False,
}
_LOGS = "on the host: journalctl -u tailscaled -n 50"
_SERVE_LIMIT_S = 60


@dataclass(frozen=True)
class Want:
    """What the node shall be. ``publish`` is the loopback port behind the tailnet address; 0 publishes nothing."""

    login_server: str = ""
    hostname: str = ""
    accept_dns: bool = False
    tags: tuple[str, ...] = ()
    timeout_s: int = 60
    scheme: str = "https"
    port: int = 443
    publish: int = 0

    @property
    def control(self) -> str:
        return comparable(self.login_server)

    def serve(self, name: str) -> dict[str, Any]:
        """The serve configuration as `tailscale serve status --json` prints it, for a node called ``name``."""
        if not self.publish:
            return {}
        kind = {"http": "HTTP", "https": "HTTPS"}[self.scheme]
        handlers = {"/": {"Proxy": self.target}}
        return {"TCP": {str(self.port): {kind: True}}, "Web": {f"{name}:{self.port}": {"Handlers": handlers}}}

    @property
    def target(self) -> str:
        return f"http://127.0.0.1:{self.publish}"


@dataclass(frozen=True)
class Run:
    """Run `tailscale` with ``argv``, in at most ``limit_s`` seconds; ``key``: the join key goes in by stdin."""

    why: str
    argv: tuple[str, ...]
    limit_s: int
    fix: str
    key: bool = False


@dataclass(frozen=True)
class Refuse:
    """Nothing that may be done from here leads on."""

    why: str
    fix: str


Step = Run | Refuse


def decide(node: Node, want: Want) -> list[Step]:
    """The next steps; none when the node is as it shall be. After them the node must be read again."""
    refusal = _refusal(node, want)
    if refusal:
        return [refusal]
    if node.backend == "NeedsLogin":
        return [join(want)]
    if node.backend == "Stopped":
        # Without any flag: with one, even --timeout, `up` demands that all non-default settings be named again.
        return [
            Run("bring the node up", ("up",), want.timeout_s, f"{_LOGS}; is the control server reachable from there?")
        ]
    return drift(node, want) or publish(node, want)


def _refusal(node: Node, want: Want) -> Refuse | None:
    if not node.version:
        return Refuse("the package tailscale is not installed", "apply again; apt's words above say why it is missing")
    if not node.backend:
        return Refuse(f"tailscaled does not answer: {node.problem or 'no reason given'}", _LOGS)
    if node.backend in ("NoState", "Starting"):
        health = f" ({'; '.join(node.health)})" if node.health else ""
        return Refuse(
            f"tailscaled does not get beyond {node.backend}{health}",
            f"can the machine reach {want.control} and its relay servers? {_LOGS}",
        )
    if node.member and node.control != want.control:
        return Refuse(
            f"the machine is in the tailnet of {node.control}, the settings say {want.control}",
            "correct tailscale.login_server, or take the machine out of the old tailnet first: sudo tailscale logout",
        )
    if node.backend == "NeedsMachineAuth":
        return Refuse(
            f"the tailnet wants the device {node.name or want.hostname or ''} approved by a person".replace("  ", " "),
            "approve it (Tailscale: admin console, Machines) and apply again; next time mint a pre-approved key",
        )
    if node.backend not in ("NeedsLogin", "Stopped", "Running"):
        return Refuse(f"tailscaled is in a state that is not known here: {node.backend}", _LOGS)
    if not node.tun:
        return Refuse(
            "tailscaled runs with user-space networking, where every loopback port is open to the tailnet",
            "remove --tun=userspace-networking from FLAGS in /etc/default/tailscaled",
        )
    if funnels(node.serve.get("Foreground")):
        return Refuse(
            "a `tailscale funnel` command is publishing a port of this machine to the internet right now",
            "end that command on the host: pgrep -af 'tailscale funnel'",
        )
    return None


def join(want: Want) -> Run:
    """The first login. ``--reset``: what is not named here goes back to its default, whatever was set before."""
    argv = ["up", "--auth-key=file:/dev/stdin", f"--timeout={want.timeout_s}s", "--reset"]
    argv += [f"--login-server={want.login_server}"] if want.login_server else []
    argv += [f"--hostname={want.hostname}", f"--accept-dns={str(want.accept_dns).lower()}"]
    argv += [f"--advertise-tags={','.join(want.tags)}"] if want.tags else []
    # headscale 0.29.2 consumes the key of a tagged machine that was logged out, and then refuses it as used:
    # https://github.com/juanfont/headscale/issues/3371
    fix = (
        f"a key that was used, has expired or belongs to another control server than {want.control} is refused: mint a new "
        "one (one-off, pre-approved, not ephemeral), put it where tailscale.auth_key says, apply again. When a new key is "
        "'already used', too: delete this machine's old node at the control server first (headscale nodes delete)"
    )
    return Run("join the tailnet", tuple(argv), want.timeout_s + 15, fix, key=True)


def drift(node: Node, want: Want) -> list[Step]:
    """One `tailscale set` for every preference that is not as it shall be."""
    wanted = {**BASELINE, "accept-dns": want.accept_dns, "hostname": want.hostname}
    wrong = {k: v for k, v in wanted.items() if k in node.preferences and node.preferences[k] != v}
    if node.auto_update is None:
        # Reads as false, but undecided: the tailnet's default would be taken, and it may be to update by itself.
        wrong["auto-update"] = BASELINE["auto-update"]
    if not wrong:
        return []
    words = {k: str(v).lower() if isinstance(v, bool) else v for k, v in wrong.items()}
    argv = ("set", *(f"--{k}={v}" for k, v in sorted(words.items())))
    return [Run(f"set {', '.join(sorted(words))}", argv, want.timeout_s, _LOGS)]


def publish(node: Node, want: Want) -> list[Step]:
    """`tailscale serve` for Open WebUI and for nothing else. Exactly: the name is part of it, so a rename shows here."""
    served = {k: node.serve[k] for k in ("TCP", "Web", "Services") if node.serve.get(k)}
    if funnels(node.serve):
        served["AllowFunnel"] = True
    if want.publish and not node.name:
        return [Refuse("the tailnet gives this machine no name to publish under", "switch MagicDNS on in the tailnet")]
    wanted = want.serve(node.name)
    if served == wanted:
        return []
    steps: list[Step] = []
    if served:
        steps.append(Run("withdraw what is published", ("serve", "reset"), _SERVE_LIMIT_S, _LOGS))
    if wanted:
        argv = ("serve", "--bg", f"--{want.scheme}={want.port}", want.target)
        fix = (
            "HTTPS certificates may be off in this tailnet: switch them on (admin console, DNS), or tailscale.serve_scheme: http"
            if want.scheme == "https"
            else _LOGS
        )
        steps.append(Run("publish Open WebUI", argv, _SERVE_LIMIT_S, fix))
    return steps


def funnels(config: Any) -> bool:
    """True when a serve configuration, or any session inside it, has a port open to the internet."""
    if not isinstance(config, dict):
        return False
    allowed = config.get("AllowFunnel")
    if isinstance(allowed, dict) and any(allowed.values()):
        return True
    return any(funnels(inner) for key, inner in config.items() if key != "AllowFunnel")
