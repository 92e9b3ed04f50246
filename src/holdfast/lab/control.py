"""The tailnet's control server: the real headscale with its own relay (DERP) over TLS, in the control namespace."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from holdfast.lab import authority
from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, environment, start, wait_until
from holdfast.proc import run

PERSON = "alice"  # owns the phone and the laptop
TAG = "tag:gpu"  # the workstation: a tagged node's key never expires
# The configuration is JSON, which is YAML too. Two settings are there to be switched off: no relays of Tailscale's, and
# no override of the nodes' resolvers (fatal without a global name server).
_CONFIG: dict[str, object] = {
    "server_url": at.CONTROL_URL,
    "listen_addr": f"{at.CONTROL}:443",
    "metrics_listen_addr": "127.0.0.1:9090",
    "grpc_listen_addr": "127.0.0.1:50443",
    "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
    "disable_check_updates": True,
    "logtail": {"enabled": False},
    "dns": {
        "magic_dns": True, "base_domain": at.BASE_DOMAIN, "override_local_dns": False, "nameservers": {"global": []},
    },
}  # fmt: skip
# Everything is allowed between these: what a neighbour or the phone cannot reach must be closed by the workstation, not by
# a policy that a real tailnet may not have.
POLICY: dict[str, object] = {
    "tagOwners": {TAG: [f"{PERSON}@"]},
    "grants": [
        {"src": [f"{PERSON}@"], "dst": [TAG, f"{PERSON}@"], "ip": ["*"]},
    ],
    "nodeAttrs": [{"target": ["*"], "attr": ["disable-captive-portal-detection"]}],
}


def configuration(folder: Path) -> dict[str, object]:
    """headscale's configuration with all its files in ``folder``."""
    derp = {
        "server": {
            "enabled": True, "region_id": 999, "region_code": "lab", "region_name": "lab", "verify_clients": True,
            "stun_listen_addr": f"{at.CONTROL}:3478", "private_key_path": str(folder / "derp.key"), "ipv4": at.CONTROL,
        },
        "urls": [], "paths": [], "auto_update_enabled": False,
    }  # fmt: skip
    return {
        **_CONFIG,
        "tls_cert_path": str(folder / "server.pem"),
        "tls_key_path": str(folder / "server.key"),
        "noise": {"private_key_path": str(folder / "noise.key")},
        "database": {"type": "sqlite", "sqlite": {"path": str(folder / "db.sqlite")}},
        "unix_socket": str(folder / "headscale.sock"),
        "derp": derp,
        "policy": {"mode": "file", "path": str(folder / "policy.json")},
    }


class Control:
    """The control server of one lab."""

    def __init__(self, layout: Layout, nonce: str, program: Path) -> None:
        self.layout, self.nonce, self.program, self.folder = layout, nonce, program, layout.control

    def prepare(self) -> None:
        """Certificates, configuration and policy, once."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        authority.make(self.folder, self.layout.name, at.CONTROL)
        for name, data in (("policy.json", POLICY), ("config.json", configuration(self.folder))):
            (self.folder / name).write_text(json.dumps(data, indent=1) + "\n")

    @property
    def ca(self) -> Path:
        """The certificate that whoever joins must trust."""
        return self.layout.authority

    def start(self) -> Process:
        """Start it and wait until it answers its own health check."""
        log = self.layout.logs / "control.log"
        process = start("control", self._argv("serve"), nonce=self.nonce, log=log)
        wait_until(
            "the control server (headscale) does not come up",
            lambda: run(self._argv("health"), env=environment(self.nonce), check=False).returncode == 0,
            seconds=30, process=process, log=log,
        )  # fmt: skip
        return process

    def add_person(self) -> None:
        """Make the user who owns phone and laptop."""
        self._json("users", "create", PERSON)

    def mint(self, file: Path, *, tagged: bool) -> None:
        """Write a one-off pre-auth key, valid for 24 hours, into ``file`` (0600)."""
        if tagged:
            owner = ["--tags", TAG]
        else:
            users = self._json("users", "list", "--name", PERSON)
            owner = ["--user", str(users[0]["id"])]
        key = self._json("preauthkeys", "create", *owner, "--expiration", "24h")["key"]
        new = file.with_name(file.name + ".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(key + "\n")
        new.replace(file)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that have joined, as headscale lists them."""
        return list(self._json("nodes", "list") or [])

    def logged_out(self) -> list[str]:
        """The names of the nodes that logged out: from then on they have an expiry, and it is past."""
        now = time.time()
        return [str(n["given_name"]) for n in self.nodes() if n.get("expiry") and int(n["expiry"]["seconds"]) <= now]

    def forget(self, hostname: str) -> None:
        """Delete the node that goes by this name. A tagged one that was logged out does not get in again before that:
        https://github.com/juanfont/headscale/issues/3371
        """
        for node in self.nodes():
            if node.get("given_name") == hostname:
                self._json("nodes", "delete", "--identifier", str(node["id"]), "--force")

    def addresses(self, hostname: str) -> dict[str, str]:
        """ipv4 and ipv6 of the node that goes by this name; nothing when none does."""
        for node in self.nodes():
            if node.get("given_name") == hostname:
                return {"ipv6" if ":" in address else "ipv4": address for address in node["ip_addresses"]}
        return {}

    def _argv(self, *words: str) -> list[str | Path]:
        inside = ["ip", "netns", "exec", self.layout.netns("control")]
        return [*inside, self.program, "--config", self.folder / "config.json", *words]

    def _json(self, *words: str) -> Any:
        return json.loads(run(self._argv(*words, "--output", "json"), env=environment(self.nonce)).stdout)
