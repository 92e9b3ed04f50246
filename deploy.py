"""The whole workstation on one page: settings, then every component in order. No logic lives here (docs/development.md)."""

from pyinfra import host

from holdfast.apply import attach
from holdfast.components.aider.deploy import aider
from holdfast.components.base.deploy import base
from holdfast.components.models.deploy import await_pull, change_models, models_preflight, start_pull
from holdfast.components.nvidia.deploy import nvidia, nvidia_preflight
from holdfast.components.ollama.deploy import ollama, ollama_preflight, run_ollama
from holdfast.components.open_webui.deploy import await_open_webui, open_webui
from holdfast.components.tailscale.deploy import tailscale, tailscale_preflight
from holdfast.settings import Workstation

ws = Workstation.of(host.data)
attach(ws)

# What would stop the apply later is found out before anything is changed.
nvidia_preflight(ws)
ollama_preflight(ws)
models_preflight(ws)
tailscale_preflight(ws)

base(ws)
start_pull(ws)  # the longest download runs in the background from here …
nvidia(ws)
tailscale(ws)
ollama(ws)
change_models(ws)  # a model that takes another's place answers, beside it, before a server or a client changes over
run_ollama(ws)
open_webui(ws)  # after the tailnet: its public address is read there
aider(ws)
await_open_webui(ws)
await_pull(ws)  # … and is awaited here
