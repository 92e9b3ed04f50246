"""NVIDIA: reads the cards and the driver, and reports. Installs nothing yet."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.nvidia.operations import require_devices, usable
from holdfast.settings import Workstation


@deploy("NVIDIA: first look")
def nvidia_preflight(ws: Workstation) -> None:
    """Comes before anything is changed; needs neither a driver nor python3."""
    used = {name: ws.gpus[name] for instance in ws.instances.values() for name in instance.gpus}
    require_devices(name="Require the declared GPUs", gpus=used, required=ws.require_gpu)


@deploy("NVIDIA")
def nvidia(ws: Workstation) -> None:
    """Whether the declared cards are there and a driver that Ollama takes is loaded."""
    usable(
        name="Check the NVIDIA GPUs and their driver",
        gpus=ws.gpus,
        required=ws.require_gpu,
        minimum_driver=ws.nvidia.minimum_driver,
    )
