"""Models: the download begins as early as it can, in the background of everything else, and is awaited last."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.models import files, pins
from holdfast.components.models.change import Ask, change, note
from holdfast.components.models.folder import require_folder
from holdfast.components.models.operations import Pull, begin, sweep, wait
from holdfast.components.ollama.trial import trial
from holdfast.errors import HoldfastError
from holdfast.operations.place import File, place
from holdfast.operations.require import require
from holdfast.settings import Workstation


@deploy("Models: first look")
def models_preflight(ws: Workstation) -> None:
    """Comes before anything is changed."""
    require(name="Require a digest for every model", problem=_pull(ws)[1])
    require_folder(name="Require the model store's own disk", path=ws.models.store)


@deploy("Models: start")
def start_pull(ws: Workstation) -> None:
    """Declare the models and let the puller run on its own: it survives the loss of SSH, and a reboot."""
    pull, _ = _pull(ws)
    settings = files.settings(ws, pull.models)
    place(
        name="Declare the models",
        entries=[
            *files.folders(ws),
            File(files.SETTINGS, settings),
            File(f"/etc/systemd/system/{files.UNIT}", files.unit(ws, settings)),
        ],
    )
    begin(name="Start fetching the models", pull=pull, config=files.config(settings))


@deploy("Models: change")
def change_models(ws: Workstation) -> None:
    """Comes before the servers and their clients change over; waits only where a role gets another model."""
    pull = _pull(ws)[0]
    asks = [Ask(role, pull.models[i.model], trial(ws, role)) for role, i in ws.instances.items()]
    change(name="Let new models answer before they take over", pull=pull, asks=asks, patience_s=ws.models.patience_s)


@deploy("Models: wait")
def await_pull(ws: Workstation) -> None:
    """Comes last."""
    pull = _pull(ws)[0]
    # Before the wait: it may end without one model while the others serve, and a download goes on without us.
    note(name="Note which models are in service", roles={role: pull.models[i.model] for role, i in ws.instances.items()})
    wait(name="Wait for the models", pull=pull, patience_s=ws.models.patience_s)
    sweep(name="Remove models that are not declared", pull=pull, sync=ws.models.sync)


def _pull(ws: Workstation) -> tuple[Pull, HoldfastError | None]:
    """What is to be there. Where digests are not known models_preflight stops an apply, and a plan lists what waits."""
    digests, problem = pins.digests(ws)
    return Pull(ws.models.store, files.SETTINGS, files.STATUS, files.UNIT, digests, ws.models.least_kib_s * 1024), problem
