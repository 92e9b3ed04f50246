"""The lab's networks: namespaces only, nothing in this computer's own network is opened or changed.

    workstation ─┐                        ┌─ control  10.99.0.2
    10.77.0.1    ├─ br-lan ─── router ────┼─ phone    10.78.0.2
    neighbour ───┘  10.77.0.254   │       └─ laptop   10.79.0.2
    10.77.0.2                   tap0 (slirp4netns, a plain process: user-mode NAT)

The router behaves as a home router does: the LAN reaches everything, nothing outside reaches into the LAN.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.lab.processes import Process, start, wait_until
from holdfast.proc import run

Run = Callable[..., object]
UPLINK = "tap0"
AWAY = {"control": at.CONTROL, "phone": at.PHONE, "laptop": at.LAPTOP}

_NFT = """
table inet lab {
    # This computer's own addresses: slirp4netns would connect to them from here, so a service that listens on all
    # interfaces of this computer would be open to the lab. (Its loopback is closed by --disable-host-loopback.)
    set computer { type ipv4_addr; %(computer)s }
    chain output {
        type filter hook output priority filter; policy accept;
        oifname "%(uplink)s" ip daddr @computer reject
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        oifname "%(uplink)s" ip daddr @computer reject
        oifname "%(uplink)s" accept
        iifname "br-lan" accept
        oifname { "control", "phone", "laptop" } accept
    }
    chain to_uplink {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "%(uplink)s" masquerade
    }
}
"""


def computer_addresses() -> list[str]:
    """This computer's own IPv4 addresses (loopback excepted)."""
    links = json.loads(run(["ip", "-json", "-4", "address", "show"]).stdout)
    found = {info["local"] for link in links for info in link.get("addr_info", []) if info.get("local")}
    return sorted(a for a in found if not a.startswith("127."))


def ruleset(computer: list[str]) -> str:
    """The router's rules. ``computer``: IPv4 addresses that the lab must not reach."""
    elements = f"elements = {{ {', '.join(computer)} }};" if computer else ""
    return _NFT % {"computer": elements, "uplink": UPLINK}


class Network:
    """The namespaces of one lab and what is in them. ``env`` is the environment of every program started."""

    def __init__(self, layout: Layout, env: dict[str, str]) -> None:
        self.layout, self.env = layout, env

    def _run(self, *argv: str | Path, input: str | None = None) -> str:
        return run(argv, env=self.env, input=input).stdout

    def _in(self, node: str, *argv: str, input: str | None = None) -> str:
        return self._run("ip", "netns", "exec", self.layout.netns(node), *argv, input=input)

    def make(self) -> None:
        """Namespaces, links, addresses and routes. Links are made inside namespaces: they never show up here."""
        ns = self.layout.netns
        for node in at.NODES:
            self._run("ip", "netns", "add", ns(node))
            # IPv4 settings are copied from this computer, whatever they are there (Documentation/admin-guide/sysctl/net.rst,
            # devconf_inherit_init_net): set what the lab relies on.
            self._in(node, "sysctl", "-qw", f"net.ipv4.ip_forward={int(node == 'router')}", "net.ipv4.conf.all.rp_filter=0",
                     "net.ipv4.conf.default.rp_filter=0", "net.ipv6.conf.all.disable_ipv6=0",
                     "net.ipv6.conf.default.disable_ipv6=0", "net.ipv6.conf.all.accept_dad=0",
                     "net.ipv6.conf.default.accept_dad=0")  # fmt: skip
            self._run("ip", "-n", ns(node), "link", "set", "lo", "up")
        router = ns("router")
        self._run("ip", "-n", router, "link", "add", "br-lan", "type", "bridge")
        self._address("router", "br-lan", f"{at.ROUTER4}/24", f"{at.ROUTER6}/64")
        for node, v4, v6 in (
            ("workstation", at.WORKSTATION4, at.WORKSTATION6),
            ("neighbour", at.NEIGHBOUR4, at.NEIGHBOUR6),
        ):
            self._pair(node)
            self._run("ip", "-n", router, "link", "set", node, "master", "br-lan", "up")
            if node == "workstation":
                self._run("ip", "-n", ns(node), "link", "set", "eth0", "address", at.WORKSTATION_MAC)
            self._address(node, "eth0", f"{v4}/24", f"{v6}/64")
            self._run("ip", "-n", ns(node), "route", "add", "default", "via", at.ROUTER4)
        for node, address in AWAY.items():
            gateway = address.rpartition(".")[0] + ".1"
            self._pair(node)
            self._address("router", node, f"{gateway}/24")
            self._address(node, "eth0", f"{address}/24")
            self._run("ip", "-n", ns(node), "route", "add", "default", "via", gateway)
        self._in("router", "nft", "-f", "-", input=ruleset(computer_addresses()))

    def _pair(self, node: str) -> None:
        """A cable from the router (its end carries the node's name) to the node's eth0."""
        self._run("ip", "link", "add", node, "netns", self.layout.netns("router"),
                  "type", "veth", "peer", "name", "eth0", "netns", self.layout.netns(node))  # fmt: skip

    def _address(self, node: str, link: str, *addresses: str) -> None:
        ns = self.layout.netns(node)
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self._run("ip", "-n", ns, "address", "add", address, "dev", link, *nodad)
        self._run("ip", "-n", ns, "link", "set", link, "up")

    def uplink(self, nonce: str) -> Process:
        """Start the way out: a plain process that does NAT in user space; returns once the router has its address.

        The large MTU triples the throughput. Raises HoldfastError with the program's words when it ends.
        """
        log = self.layout.logs / "uplink.log"
        netns = f"/run/netns/{self.layout.netns('router')}"
        options = ["--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"]
        process = start("uplink", ["slirp4netns", *options, netns, UPLINK], nonce=nonce, log=log)
        show = ["ip", "-n", self.layout.netns("router"), "-4", "address", "show", "dev", UPLINK]
        wait_until(
            "the lab's uplink (slirp4netns) does not come up",
            lambda: "inet " in run(show, env=self.env, check=False).stdout,
            seconds=20, process=process, log=log,
        )  # fmt: skip
        return process


def remove(layout: Layout) -> None:
    """Delete the lab's namespaces (their links go with them) and their folders below /etc/netns. Harmless twice."""
    for name in layout.namespaces.values():
        if Path("/run/netns", name).exists():
            run(["ip", "netns", "delete", name], check=False)
            # A start that was killed between creating the name and mounting the namespace leaves a plain file.
            Path("/run/netns", name).unlink(missing_ok=True)
        shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)
