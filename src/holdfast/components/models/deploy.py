"""Models: the download begins as early as it can, in the background of everything else, and is awaited last."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.models import files, pins
from holdfast.components.models.operations import Pull, begin, wait
from holdfast.errors import HoldfastError
from holdfast.operations.place import File, place
from holdfast.operations.require import require
from holdfast.settings import Workstation


@deploy("Models: first look")
def models_preflight(ws: Workstation) -> None:
    """Comes before anything is changed."""
    require(name="Require a digest for every model", problem=_pull(ws)[1])


@deploy("Models: start")
def start_pull(ws: Workstation) -> None:
    """Declare the models and let the puller run on its own: it survives the loss of SSH, and a reboot."""
    pull, problem = _pull(ws)
    if problem is not None:
        return  # models_preflight has stopped this host
    settings = files.settings(ws, pull.models)
    place(
        name="Declare the models",
        entries=[
            *files.folders(),
            File(files.SETTINGS, settings),
            File(f"/etc/systemd/system/{files.UNIT}", files.unit(settings)),
        ],
    )
    begin(name="Start fetching the models", pull=pull, config=files.config(settings))


@deploy("Models: wait")
def await_pull(ws: Workstation) -> None:
    """Comes last."""
    pull, problem = _pull(ws)
    if problem is None:
        wait(name="Wait for the models", pull=pull, patience_s=ws.models.patience_s)


def _pull(ws: Workstation) -> tuple[Pull, HoldfastError | None]:
    try:
        return Pull(files.STORE, files.STATUS, files.UNIT, pins.pinned(ws)), None
    except HoldfastError as error:
        return Pull(files.STORE, files.STATUS, files.UNIT, {}), error
