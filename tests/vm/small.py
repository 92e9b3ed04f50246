"""The page of these tests: the workstation without web interface, Aider and tailnet, which need no kernel of their own."""

from pyinfra import host

from holdfast.apply import attach
from holdfast.components.base.deploy import base
from holdfast.components.models.deploy import await_pull, change_models, models_preflight, start_pull
from holdfast.components.nvidia.deploy import nvidia, nvidia_preflight
from holdfast.components.ollama.deploy import ollama, ollama_preflight, run_ollama
from holdfast.settings import Workstation

ws = Workstation.of(host.data)
attach(ws)

nvidia_preflight(ws)
ollama_preflight(ws)
models_preflight(ws)
base(ws)
start_pull(ws)
nvidia(ws)
ollama(ws)
change_models(ws)
run_ollama(ws)
await_pull(ws)
