"""Where things lie: in the checkout, on a workstation, in the user's cache and state folders (XDG Base Directory
Specification)."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
LOCKS = ROOT / "locks"
GROUP_DATA = ROOT / "group_data"
ONHOST = ROOT / "src" / "holdfast_onhost"
SHIPPED = "/usr/local/lib/holdfast/holdfast_onhost"
"""Where ONHOST lies on a workstation; in templates `programs`."""


def hosts_file() -> Path:
    """hosts.yml of this checkout; $HOLDFAST_HOSTS names another one, from where the person stands (the shim says where)."""
    named = os.environ.get("HOLDFAST_HOSTS", "")
    # "~" comes from where no shell has read the variable.
    return from_there(os.path.expanduser(named)) if named else ROOT / "hosts.yml"


def from_there(named: str | Path) -> Path:
    """A file as the person named it, from where she stands (the shim says where). Not resolved: /dev/stdin and links stay
    what they are."""
    return Path(os.environ.get("HOLDFAST_CWD") or Path.cwd(), named)


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification says that a relative path in the variable is to be ignored.
    base = Path(value) if value.startswith("/") else Path.home() / fallback
    return base / "holdfast"


def cache_dir() -> Path:
    """What can be made again: the depot, base trees, wheels."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Logs of the commands, and what belongs to running labs: keys, addresses, process ids."""
    return _xdg("XDG_STATE_HOME", ".local/state")
