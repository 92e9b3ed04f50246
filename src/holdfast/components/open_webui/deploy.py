"""Open WebUI: environment from a hashed lock, secrets made on the machine, one hardened unit on loopback."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.open_webui import files
from holdfast.components.open_webui.operations import as_started_now, credentials, retire_bootstrap
from holdfast.operations.account import account
from holdfast.operations.answers import answers
from holdfast.operations.place import Directory, File, place
from holdfast.operations.unit import unit
from holdfast.operations.venv import venv
from holdfast.settings import Workstation


@deploy("Open WebUI")
def open_webui(ws: Workstation) -> None:
    """Comes after the tailnet is joined and published: the address that it answers under is read there at its start."""
    options = ws.open_webui
    environment = files.environment(ws)
    account(name="Create the account open-webui", user="open-webui", home="/var/lib/open-webui")
    venv(
        name="Install Open WebUI", lock=files.LOCK, dest="/opt/open-webui", python=options.python, finish=files.RECENT_CHANGES
    )
    place(
        name="Write Open WebUI's unit and environment",
        entries=[
            Directory(files.ETC),
            File(f"{files.ETC}/open-webui.env", environment),
            File(f"/etc/systemd/system/{files.UNIT}", files.unit(ws)),
        ],
    )
    credentials(
        name="Make Open WebUI's secrets", folder=files.ETC, database=files.DATABASE,
        email=options.admin_email, person=options.admin_name,
    )  # fmt: skip
    unit(name="Run Open WebUI", unit=files.UNIT, config=environment.rpartition("HOLDFAST_CONFIG=")[2].strip())
    as_started_now(
        name="Let Open WebUI know its address", unit=files.UNIT, origin=files.ORIGIN.read_text("utf-8"), port=options.port,
        extra=options.extra_origins, secret_file=f"{files.ETC}/secret.env",
        files=[f"/etc/systemd/system/{files.UNIT}", f"{files.ETC}/open-webui.env", "/opt/open-webui/current"],
    )  # fmt: skip


@deploy("Open WebUI: wait")
def await_open_webui(ws: Workstation) -> None:
    """Its start takes seconds of one processor, in which the others need not be idle: it is awaited late."""
    url = f"http://127.0.0.1:{ws.open_webui.port}"
    answers(name="Wait for Open WebUI", url=f"{url}/ready", timeout_s=ws.open_webui.start_timeout_s, unit=files.UNIT)
    retire_bootstrap(name="Remove the first administrator's file", folder=files.ETC, database=files.DATABASE, url=url)
