"""What the driver finds on the machine beside its packages' own files. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.components.nvidia.names import beginnings, kinds
from holdfast.operations.place import Absent, Directory, Entry, File
from holdfast.operations.unit import config_hash
from holdfast.render import render

SYSTEMD = "/etc/systemd/system"
PERSISTENCE = "nvidia-persistenced.service"
POWER = "holdfast-nvidia-power.service"
SLEEP = "/etc/systemd/sleep.conf.d"


def _template(path: str) -> str:
    return render(f"nvidia{path}.j2")


def _unattended(path: str) -> str:
    return render(f"nvidia{path}.j2", beginnings=beginnings(), kinds=kinds())


def settings(updates: str) -> list[Entry]:
    """Nouveau kept away, nvidia-uvm loaded at boot, persistence on, updates by `up` alone (``updates``: managed, leave)."""
    drop_in = f"{SYSTEMD}/{PERSISTENCE}.d"
    modprobe, load = "/etc/modprobe.d/holdfast-nvidia.conf", "/etc/modules-load.d/holdfast-nvidia.conf"
    unattended = "/etc/apt/apt.conf.d/52holdfast-nvidia"
    return [
        File(modprobe, _template(modprobe)),
        File(load, _template(load)),
        Directory(drop_in),
        File(f"{drop_in}/holdfast.conf", persistence(persistence_config())),
        File(unattended, _unattended(unattended)) if updates == "managed" else Absent(unattended),
    ]


def persistence(config: str) -> str:
    """The drop-in of nvidia-persistenced."""
    return render("nvidia/etc/systemd/system/nvidia-persistenced.service.d/holdfast.conf.j2", config=config)


def persistence_config() -> str:
    """What the running daemon is compared with."""
    return config_hash(persistence(""))


def power(limits: Mapping[str, int]) -> list[Entry]:
    """The unit that sets ``limits`` (PCI address -> watts) at boot; none without limits."""
    path = f"{SYSTEMD}/{POWER}"
    if not limits:
        return [Absent(path)]
    return [File(path, render(f"nvidia{path}.j2", limits=sorted(limits.items())))]


def awake(always_on: bool) -> list[Entry]:
    """What keeps the machine from sleeping, where that was asked for."""
    path = f"{SLEEP}/holdfast.conf"
    return [Directory(SLEEP), File(path, _template(path))] if always_on else [Absent(path)]
