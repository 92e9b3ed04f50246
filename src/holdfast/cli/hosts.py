"""Which machine is meant, and its settings: checked before anything is connected."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import yaml

from holdfast.errors import HoldfastError
from holdfast.paths import hosts_file
from holdfast.settings.inventory import groups, require_files
from holdfast.settings.loader import load, resolve, sites
from holdfast.settings.merge import merge, nested
from holdfast.settings.workstation import Workstation

# The throw-away machine that is meant where no host is named; another name makes another machine beside it.
LAB = os.environ.get("HOLDFAST_LAB") or "lab"


def settings(name: str) -> Workstation:
    """The settings of one known host. All hosts are validated: pyinfra would refuse to start for a wrong neighbour."""
    found = load(name)
    groups()
    require_files(found)
    return found


def chosen(given: str | None) -> str:
    """The name of the host that was meant; '@local' is the one that says ``local: true``. Raises for an unknown one."""
    known = sites()
    if given is None:
        if LAB in known:
            return LAB
        raise HoldfastError(
            "no throw-away machine is running, and no host was named", allowed=", ".join(known),
            fix="name a host of hosts.yml, or start the throw-away machine: ./holdfast up", code=2,
        )  # fmt: skip
    if given == "@local":
        # The loader lets one host say so at most.
        here = next((name for name, site in known.items() if site.get("local") is True), "")
        if not here:
            no = "@local: no host of hosts.yml says `local: true`"
            raise HoldfastError(no, where=str(hosts_file()), fix="./holdfast init @local", code=2)
        return here
    # The error of an unknown name lists the known ones.
    return load(given).name


def overrides(pairs: list[str]) -> dict[str, Any]:
    """``--set instances.coder.context=8192``: the path, and the value as YAML reads it. Raises with exit code 2."""
    values: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not all(path.split(".")):
            raise HoldfastError(f"--set {pair!r:.80}", allowed="path=value", fix="--set instances.coder.context=8192", code=2)
        try:
            values[path] = yaml.safe_load(text)
            # It travels as JSON, which has no dates, sets or bytes, and no setting is one.
            json.dumps(values[path])
        except (yaml.YAMLError, TypeError, ValueError, RecursionError):
            problem = f"--set {path}: {text!r:.60} is no text, number, yes or no, list or mapping in YAML"
            raise HoldfastError(problem, fix=f"--set '{path}=\"{text[:40]}\"' when it is a text", code=2) from None
    return values


def add_reboot(parser: argparse.ArgumentParser) -> None:
    """The same words for `up` and for the plan of it."""
    reboot = parser.add_mutually_exclusive_group()
    reboot.add_argument(
        "--reboot", action="store_const", const="always", dest="reboot",
        help="a reboot that the driver needs is made also while something computes, or where a disk asks for a passphrase",
    )  # fmt: skip
    reboot.add_argument(
        "--no-reboot", action="store_const", const="never", dest="reboot", help="no reboot; stop where one is due"
    )


def asked_for(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the words of this command line have changed: --set, then --reboot or --no-reboot."""
    values = overrides(args.values)
    if args.reboot:
        values["nvidia.reboot"] = args.reboot
    return values


def set_for(name: str, values: dict[str, Any]) -> None:
    """From here on the settings of this host have ``values`` over what its file says, in subprocesses too."""
    if values:
        os.environ["HOLDFAST_SET"] = json.dumps({"host": name, "values": values})


def tried(lab: str, values: dict[str, Any]) -> None:
    """Raises SettingsError for ``values`` that a throw-away machine cannot have: before anything of it is made."""
    from holdfast.lab import site
    from holdfast.lab.layout import Layout

    resolve(merge({**site.block(Layout(lab), {}), "name": lab}, nested(values)), where="--set")


def add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="values",
        help="another value for this run, e.g. --set instances.coder.context=8192 (may be repeated)",
    )  # fmt: skip
