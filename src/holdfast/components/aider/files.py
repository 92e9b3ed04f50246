"""What Aider finds on the machine, from settings alone (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from holdfast.components.ollama.options import Instance
from holdfast.operations.place import Directory, Entry, File
from holdfast.operations.venv import locked_version
from holdfast.paths import LOCKS
from holdfast.render import render
from holdfast.settings import Workstation

LOCK = LOCKS / "python" / "aider.txt"
DEST = "/opt/aider"
LAUNCH = f"{DEST}/launch.py"
ETC = "/etc/holdfast/aider"


@dataclass(frozen=True)
class Model:
    """One model as Aider is told of it. ``context`` in tokens, the same number that its server runs with."""

    name: str
    url: str
    context: int
    edit_format: str
    reasons: bool


def _model(instance: Instance, edit_format: str, *, reasons: bool) -> Model:
    # ollama_chat, not ollama: litellm then sends the conversation to /api/chat and the server applies the model's template.
    return Model(
        f"ollama_chat/{instance.model}", f"http://127.0.0.1:{instance.port}", instance.context, edit_format, reasons
    )


def models(ws: Workstation) -> tuple[Model, Model]:
    """Architect and editor. Two models, or one instance in both roles (Workstation._cross_checks)."""
    options = ws.aider
    editor = _model(ws.instances[options.editor], options.editor_edit_format.removeprefix("editor-"), reasons=False)
    if options.architect == options.editor:
        return editor, editor
    return _model(ws.instances[options.architect], "diff", reasons=True), editor


def metadata(pair: tuple[Model, Model]) -> str:
    """model-metadata.json. Both models must be in it, or Aider fetches a list of all models there are."""
    known = {}
    for model in pair:
        answer = min(8192, model.context // 2)
        known[model.name] = {
            "max_tokens": answer, "max_input_tokens": model.context, "max_output_tokens": answer,
            "input_cost_per_token": 0, "output_cost_per_token": 0, "litellm_provider": "ollama_chat", "mode": "chat",
        }  # fmt: skip
    return json.dumps(known, indent=2) + "\n"


def wrapper(python: str = f"{DEST}/current/bin/python", launch: str = LAUNCH, etc: str = ETC) -> str:
    """The program /usr/local/bin/aider."""
    return render("aider/usr/local/bin/aider.j2", python=python, launch=launch, etc=etc)


def entries(ws: Workstation) -> list[Entry]:
    """All files of the component."""
    options, pair = ws.aider, models(ws)
    architect, editor = pair
    names = {"architect": architect.name, "editor": editor.name, "editor_edit_format": options.editor_edit_format}
    conf = render(
        "aider/etc/holdfast/aider/aider.conf.yml.j2", version=locked_version(LOCK, "aider-chat"), etc=ETC,
        architect_role=options.architect,
        editor_role=options.editor, map_tokens=options.map_tokens, timeout_s=options.timeout_s,
        ask_before_coding=options.ask_before_coding, **names,
    )  # fmt: skip
    settings = render("aider/etc/holdfast/aider/model-settings.yml.j2", models=list(dict.fromkeys(pair)), **names)
    return [
        Directory(ETC),
        File(f"{ETC}/aider.conf.yml", conf),
        File(f"{ETC}/model-settings.yml", settings),
        File(f"{ETC}/model-metadata.json", metadata(pair)),
        File(f"{ETC}/aider.env", render("aider/etc/holdfast/aider/aider.env.j2", url=editor.url)),
        File(LAUNCH, render("aider/opt/aider/launch.py.j2", version=locked_version(LOCK, "aider-chat"))),
        File("/usr/local/bin/aider", wrapper(), mode="755"),
    ]
