"""How apt-get is driven, on this computer and on the machines alike: no question, no service restarted, no file replaced.

``./holdfast`` itself says the same in its own words: it runs before there is a Python.
"""

from __future__ import annotations

import shlex

# needrestart would ask which services to restart, or restart them: a running generation, or an operator's own work.
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "NEEDRESTART_MODE": "l", "LC_ALL": "C.UTF-8"}
# A configuration file that somebody has edited stays as it is.
KEEP = ("--force-confdef", "--force-confold")


def words(*arguments: str, wait_s: int = 0) -> list[str]:
    """``apt-get`` with ``arguments``; where another program holds its lock it waits ``wait_s`` seconds."""
    settings = [f"DPkg::Lock::Timeout={wait_s}", *(f"Dpkg::Options::={option}" for option in KEEP), "Dpkg::Use-Pty=0"]
    options = [word for setting in settings for word in ("-o", setting)]
    return ["apt-get", "-q", "-y", *options, "--no-install-recommends", *arguments]


def script(*arguments: str, wait_s: int = 0) -> str:
    """The same as one command of a shell script; ``exports`` must stand before it."""
    return shlex.join(words(*arguments, wait_s=wait_s))


def exports() -> str:
    """The line of a shell script that sets ENVIRONMENT."""
    return "export " + " ".join(f"{key}={value}" for key, value in ENVIRONMENT.items())
