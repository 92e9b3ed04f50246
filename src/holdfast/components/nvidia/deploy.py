"""NVIDIA: the driver for the machine's cards, from nothing to in use; a machine without cards is left alone."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.nvidia import files
from holdfast.components.nvidia.devices import require_devices
from holdfast.components.nvidia.operations import drivable, driver, in_use
from holdfast.components.nvidia.packages import CUDA_13, Want
from holdfast.components.nvidia.power import capped
from holdfast.components.nvidia.surroundings import persistence, settings
from holdfast.components.nvidia.verdict import usable
from holdfast.operations.place import place
from holdfast.settings import Workstation


def used(ws: Workstation) -> dict[str, str]:
    """Name -> PCI address of the cards that instances use."""
    return {name: ws.addresses[name] for instance in ws.instances.values() for name in instance.gpus}


def want(ws: Workstation) -> Want:
    """What the settings ask of the driver."""
    options, cuda_13 = ws.nvidia, ws.ollama.llm_library == "cuda_v13"
    return Want(
        gpus=used(ws), source=options.source, branch=options.branch, modules=options.modules,
        minimum=max(options.minimum_driver, CUDA_13 if cuda_13 else 0),
        reboot=options.reboot, required=ws.require_gpu, here=ws.local, cuda_13=cuda_13,
    )  # fmt: skip


@deploy("NVIDIA: first look")
def nvidia_preflight(ws: Workstation) -> None:
    """Comes before anything is changed; needs neither a driver nor python3."""
    require_devices(name="Require the declared GPUs", gpus=used(ws), required=ws.require_gpu)
    drivable(name="Require a driver for them", want=want(ws))


@deploy("NVIDIA")
def nvidia(ws: Workstation) -> None:
    """The driver is installed, loaded, and right for the declared cards. May reboot the machine, once."""
    options, asked = ws.nvidia, want(ws)
    wait_s = ws.base.apt_lock_timeout_s
    place(name="Keep the machine awake, or let it sleep", entries=files.awake(options.always_on))
    # Before the driver: the initrd that is made with it must know that nouveau stays away.
    settings(name="Write the driver's settings", entries=files.settings(options.updates), source=options.source)
    driver(name="Install the NVIDIA driver", want=asked, lock_wait_s=wait_s)
    in_use(
        name="Bring the NVIDIA driver into use", want=asked, lock_wait_s=wait_s, idle_wait_s=options.idle_wait_s,
        reboot_timeout_s=options.reboot_timeout_s,
    )  # fmt: skip
    # From here on after the reboot, if there was one.
    persistence(name="Run nvidia-persistenced", config=files.persistence_config())
    limits = {ws.addresses[name]: watts for name, watts in options.power_limit_w.items()}
    capped(name="Cap the cards' power", limits=limits, want=asked)
    usable(name="Check the NVIDIA GPUs and their driver", want=asked)
