"""The base: packages, trusted authorities, the programs of holdfast_onhost, uv."""

from __future__ import annotations

import os

from pyinfra.api import deploy

from holdfast.components.base.operations import authorities, uv
from holdfast.operations.packages import packages
from holdfast.operations.place import Directory, place
from holdfast.operations.tree import tree
from holdfast.paths import LOCKS, ONHOST, SHIPPED
from holdfast.settings import Workstation
from holdfast.settings.authorities import certificates

# Each for one reason: the readers of facts (python3), virtual environments (python3-venv), archives (zstd), fetching
# and health checks (ca-certificates, curl). Others bring their own: git comes with Aider, iptables with tailscale.
PACKAGES = ("python3", "python3-venv", "ca-certificates", "curl", "zstd")


@deploy("Base")
def base(ws: Workstation) -> None:
    """Everything the other components stand on."""
    packages(
        name="Install base packages",
        packages=[*PACKAGES, *ws.base.packages],
        lock_timeout_s=ws.base.apt_lock_timeout_s,
    )
    place(
        name="Make Holdfast's directories",
        entries=[
            Directory("/etc/holdfast"),
            Directory(os.path.dirname(SHIPPED)),
            Directory("/var/lib/holdfast"),
            Directory("/var/cache/holdfast"),
            Directory("/opt/holdfast"),
        ],
    )
    authorities(name="Trust the declared certificate authorities", certificates=certificates(ws))
    # What runs goes on as it is; the next start of each program is the new one. A unit that must run the new one at once has
    # these files in its HOLDFAST_CONFIG (the leases, in components/ollama/files.py).
    tree(name="Ship the on-host programs", src=ONHOST, dest=SHIPPED)
    uv(name="Install uv", lock=(LOCKS / "python" / "uv.txt").read_text())
