"""What Open WebUI finds on the machine: its unit and its environment, from settings alone (pure)."""

from __future__ import annotations

import json
from typing import Any

from holdfast.operations.unit import config_hash
from holdfast.operations.venv import lock_key, locked_version
from holdfast.paths import LOCKS, ONHOST
from holdfast.render import render
from holdfast.settings import Workstation

LOCK = LOCKS / "python" / "open-webui.txt"
ORIGIN = ONHOST / "origin.py"
ETC = "/etc/holdfast/open-webui"
PASSWORD = f"{ETC}/admin-password"
UNIT = "open-webui.service"
DATABASE = "/var/lib/open-webui/data/webui.db"
# At each start Open WebUI makes HTML of its whole changelog (1.5 MB in 0.12.4) and reads that back: a third of the start's
# processor time. It looks for the file beside its packages first (BASE_DIR in open_webui/env.py), and shows five releases.
RECENT_CHANGES = """
for packages in lib/python3.*/site-packages; do
    awk '/^## \\[/ {n++} n > 5 {exit} {print}' "$packages/open_webui/CHANGELOG.md" >"${packages%/*}/CHANGELOG.md"
done
""".strip()


def quoted(value: str) -> str:
    """A value for an EnvironmentFile, as systemd.exec(5) reads it inside quotes."""
    if "\n" in value:
        raise ValueError(f"a line break in {value!r}")
    if "'" not in value:
        return f"'{value}'"
    for special in '\\"`$':
        value = value.replace(special, "\\" + special)
    return f'"{value}"'


def compact(value: Any) -> str:
    """JSON on one line, quoted for an EnvironmentFile."""
    return quoted(json.dumps(value, separators=(",", ":"), ensure_ascii=True))


def tagged(model: str) -> str:
    """The id that Ollama lists a model under: with its tag. Open WebUI hides a model whose id lacks it."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def unit(ws: Workstation) -> str:
    """The text of open-webui.service."""
    options = ws.open_webui
    return render(
        "open_webui/etc/systemd/system/open-webui.service.j2",
        instances=list(ws.instances), port=options.port, extra_origins=options.extra_origins,
        memory_max=options.memory_max,
    )  # fmt: skip


def environment(ws: Workstation) -> str:
    """The text of open-webui.env. It ends in a hash of all that the running server depends on."""
    options = ws.open_webui
    urls = [f"http://127.0.0.1:{instance.port}" for instance in ws.instances.values()]
    models = [tagged(instance.model) for instance in ws.instances.values()]
    first = list(ws.instances).index(options.default_instance) if options.default_instance else 0
    text = render(
        "open_webui/etc/holdfast/open-webui/open-webui.env.j2",
        version=locked_version(LOCK, "open-webui"), port=options.port, session_days=options.session_days,
        ollama_urls=quoted(";".join(urls)), default_url=urls[first], default_model=quoted(models[first]),
        api_configs=compact({str(i): {"enable": True, "model_ids": [model]} for i, model in enumerate(models)}),
        model_params=compact({"function_calling": "legacy"}),
        interface_settings=compact({"detectArtifacts": False, "iframeSandboxAllowScripts": False,
                                    "showChangelog": False, "showUpdateToast": False}),
    )  # fmt: skip
    return f"{text}HOLDFAST_CONFIG={config_hash(unit(ws), text, lock_key(LOCK), ORIGIN.read_bytes())}\n"
