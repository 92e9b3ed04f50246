"""Tailscale: the package, its daemon, membership, and one published address."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.tailscale.operations import membership, require_key
from holdfast.components.tailscale.repository import repository
from holdfast.components.tailscale.steps import Want
from holdfast.depot import resolve_apt
from holdfast.depot.lock import pin
from holdfast.errors import HoldfastError
from holdfast.operations.packages import packages
from holdfast.operations.place import Directory, File, place
from holdfast.operations.require import require
from holdfast.operations.unit import config_hash, unit
from holdfast.render import render
from holdfast.settings import Workstation

DROP_IN = "/etc/systemd/system/tailscaled.service.d"


def want(ws: Workstation) -> Want:
    """What the settings ask of the node."""
    options = ws.tailscale
    return Want(
        login_server=options.login_server,
        hostname=options.hostname,
        accept_dns=options.accept_dns,
        tags=tuple(options.advertise_tags),
        timeout_s=options.timeout_s,
        scheme=options.scheme,
        port=options.port,
        publish=ws.open_webui.port if options.serve else 0,
    )


def _problem(depot: str) -> HoldfastError | None:
    try:
        # The pins are the same for every distribution; which one the machine has is not known yet.
        resolve_apt("tailscale", depot, "debian", "bookworm")
    except HoldfastError as error:
        return error
    return None


@deploy("Tailscale: first look")
def tailscale_preflight(ws: Workstation) -> None:
    """What must be known before anything is changed: can the packages be checked, is a join key at hand?"""
    if ws.tailscale.enabled:
        require(name="Require a package repository that can be checked", problem=_problem(ws.depot))
        require_key(name="Check that a join key is at hand", reference=ws.tailscale.auth_key)


@deploy("Tailscale")
def tailscale(ws: Workstation) -> None:
    """The only way in from outside. Comes before Open WebUI, whose public address it decides."""
    if not ws.tailscale.enabled:
        return
    version = pin("tailscale").version
    template = "tailscale/etc/systemd/system/tailscaled.service.d/holdfast.conf.j2"
    # The package's version is in it: after an upgrade by other hands the old process would go on running.
    config = config_hash(render(template, config=""), version)
    # Before the package, which starts the daemon: its very first start must already send no logs anywhere.
    place(
        name="Write tailscaled's environment",
        entries=[Directory(DROP_IN), File(f"{DROP_IN}/holdfast.conf", render(template, config=config))],
    )
    repository(name="Add Tailscale's package repository", depot=ws.depot)
    packages(
        name="Install tailscale",
        packages=[f"tailscale={version}"],
        lock_timeout_s=ws.base.apt_lock_timeout_s,
    )
    unit(name="Run tailscaled", unit="tailscaled.service", config=config)
    membership(name="Join the tailnet and publish Open WebUI there", want=want(ws), reference=ws.tailscale.auth_key)
