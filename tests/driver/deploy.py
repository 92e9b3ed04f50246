"""The base and the driver alone. With cards on the bus no Ollama without CUDA is installed, and that is the only one here."""

from pyinfra import host

from holdfast.apply import attach
from holdfast.components.base.deploy import base
from holdfast.components.nvidia.deploy import nvidia, nvidia_preflight
from holdfast.settings import Workstation

ws = Workstation.of(host.data)
attach(ws)

nvidia_preflight(ws)
base(ws)
nvidia(ws)
