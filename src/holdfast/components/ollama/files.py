"""What an instance finds on the machine: its unit, its environment, the port it may open (pure)."""

from __future__ import annotations

from functools import cache

from holdfast.components.models.files import folders
from holdfast.components.ollama.options import Instance
from holdfast.operations.place import Directory, Entry, File
from holdfast.operations.unit import config_hash
from holdfast.paths import ONHOST, SHIPPED
from holdfast.render import render
from holdfast.settings import Workstation, fitting

ETC = "/etc/holdfast/ollama"
DEST = "/opt/ollama"
PROGRAM = f"{DEST}/current/serve/bin/ollama"
LEASES = "/run/holdfast/lease"
COMMAND = "/usr/local/bin/holdfast-gpu"
GROUPS = ("video", "render")
SYSTEMD = "/etc/systemd/system"
TRIAL = "next."
"""Begins the name of the server that tries a role's next model; no role has a dot in its name."""
SUPERVISOR = f"{SHIPPED}/lease/supervisor.py"


def unit_name(role: str) -> str:
    """The instance's unit."""
    return f"ollama@{role}.service"


def environment_file(role: str) -> str:
    """Where the instance's environment lies."""
    return f"{ETC}/{role}.env"


def template(ws: Workstation) -> str:
    """The text of ollama@.service."""
    return render(
        "ollama/etc/systemd/system/ollama@.service.j2",
        options=ws.ollama, store=ws.models.store, program=PROGRAM,
    )  # fmt: skip


def port(ws: Workstation, role: str) -> str:
    """The drop-in that lets the instance open its own port."""
    return render("ollama/etc/systemd/system/port.conf.j2", port=ws.instances[role].port)


def wrapper() -> str:
    """What stands where Ollama looks for llama-server."""
    return render("ollama/opt/ollama/release/serve/lib/ollama/llama-server.j2")


@cache
def _lease() -> bytes:
    """The lease's own programs: instances that run different ones might not understand each other."""
    paths = [*sorted((ONHOST / "lease").glob("*.py")), ONHOST / "devices.py"]
    return b"".join(path.read_bytes() for path in paths)


def gpus(ws: Workstation, role: str) -> str:
    """The instance's cards as devices.py reads them: "left=0000:01:00.0 …"."""
    return " ".join(f"{name}={ws.gpus[name].address}" for name in ws.instances[role].gpus)


def config(ws: Workstation, role: str, release: str) -> str:
    """What the running server is compared with: all that it depends on. `release` is the SHA-256 of Ollama's archive."""
    return config_hash(template(ws), port(ws, role), _environment(ws, role), release, wrapper(), _lease())


def environment(ws: Workstation, role: str, release: str) -> str:
    """The text of ROLE.env."""
    return f"{_environment(ws, role)}HOLDFAST_CONFIG={config(ws, role, release)}\n"


def _environment(ws: Workstation, role: str) -> str:
    return variables(ws, role, role, ws.instances[role])


def variables(ws: Workstation, role: str, name: str, instance: Instance) -> str:
    """The environment of a server called ``name``, with the settings ``instance``, on the cards of ``role``."""
    return render(
        "ollama/etc/holdfast/ollama/instance.env.j2",
        role=name, instance=instance, options=ws.ollama, store=ws.models.store, gpus=gpus(ws, role),
        require_gpu=ws.require_gpu, leases=LEASES, vram=fitting.vram(ws, role),
    )  # fmt: skip


def environments(ws: Workstation, release: str) -> list[Entry]:
    """What differs between the instances; it belongs to the model that each of them is for."""
    return [File(environment_file(role), environment(ws, role, release)) for role in ws.instances]


def units(ws: Workstation) -> list[Entry]:
    """What the instances need on disk beside their environments."""
    out: list[Entry] = [
        Directory(ETC),
        *folders(ws),
        Directory("/var/lib/holdfast/ollama"),
        Directory("/var/cache/holdfast/ollama"),
        File(f"{SYSTEMD}/ollama@.service", template(ws)),
        File(COMMAND, render("ollama/usr/local/bin/holdfast-gpu.j2"), mode="755"),
    ]
    for role in ws.instances:
        out += [
            Directory(f"{SYSTEMD}/{unit_name(role)}.d"),
            File(f"{SYSTEMD}/{unit_name(role)}.d/port.conf", port(ws, role)),
        ]
    return out
