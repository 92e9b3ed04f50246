"""Names and addresses of one lab: everything it makes on this computer carries its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.paths import state_dir

WORKSTATION4, WORKSTATION6 = "10.77.0.1", "fd77::1"
NEIGHBOUR4, NEIGHBOUR6 = "10.77.0.2", "fd77::2"
ROUTER4, ROUTER6 = "10.77.0.254", "fd77::254"
# A fixed MAC address gives a fixed link-local address (EUI-64, RFC 4291 appendix A).
WORKSTATION_MAC, WORKSTATION_LINK_LOCAL = "02:00:00:77:00:01", "fe80::ff:fe77:1"
CONTROL = "10.99.0.2"
PHONE = "10.78.0.2"
LAPTOP = "10.79.0.2"
UPLINK_DNS = "10.0.2.3"  # slirp4netns forwards this to the computer's own resolver
DEPOT_URL = f"http://{CONTROL}:8000"
MODELS_URL = f"http://{CONTROL}:5000"
CONTROL_URL = f"https://{CONTROL}"
BASE_DOMAIN = "tail.test"
LOGIN_USER = "ada"
RELEASES = ("bookworm", "trixie")

NONCE_VARIABLE = "HOLDFAST_LAB_NONCE"
# node -> suffix of its network namespace
NODES = {
    "workstation": "ws",
    "router": "router",
    "neighbour": "lan",
    "phone": "phone",
    "laptop": "laptop",
    "control": "ctl",
}


def labs_dir() -> Path:
    """The folder of all labs of this user."""
    return state_dir() / "labs"


@dataclass(frozen=True)
class Layout:
    """Where the lab called ``name`` keeps its things."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", self.name):
            raise HoldfastError(
                f"{self.name!r} cannot be a lab's name",
                allowed="a small letter, then at most 11 small letters or digits",
                fix="choose a short name such as lab",
            )

    @property
    def folder(self) -> Path:
        """The lab's state folder (0700)."""
        return labs_dir() / self.name

    @property
    def intent(self) -> Path:
        """Written before anything else, so that what a killed start has left can be found."""
        return self.folder / "intent.json"

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def tree(self) -> Path:
        """The workstation's root file system."""
        return self.folder / "tree"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def ssh_key(self) -> Path:
        return self.folder / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def sockets(self) -> Path:
        """Short, because the path of a UNIX socket has at most 107 bytes and OpenSSH appends 17."""
        return Path("/run/holdfast") / self.name

    @property
    def control(self) -> Path:
        """Folder of the control server: configuration, keys, database."""
        return self.folder / "control"

    @property
    def authority(self) -> Path:
        """The certificate that whoever joins the tailnet must trust."""
        return self.control / "ca.pem"

    @property
    def auth_key(self) -> Path:
        """With which the workstation joins."""
        return self.folder / "workstation_auth_key"

    @property
    def models(self) -> Path:
        """What the model registry serves."""
        return self.folder / "models"

    @property
    def cgroup(self) -> str:
        """Name of the machine's control group, directly below the root of each hierarchy."""
        return f"hf-{self.name}"

    def netns(self, node: str) -> str:
        """The network namespace of a node (a key of ``NODES``)."""
        if node not in NODES:
            raise HoldfastError(f"the lab has no node {node!r}", allowed=", ".join(NODES), fix="name one of these")
        return f"hf-{self.name}-{NODES[node]}"

    @property
    def namespaces(self) -> dict[str, str]:
        return {node: self.netns(node) for node in NODES}
