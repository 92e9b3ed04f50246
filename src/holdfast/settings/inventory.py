"""What inventory.py gives to pyinfra: the hosts, each in its profile's group, with its block as the one key ``site``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.errors import SettingsError
from holdfast.settings.loader import resolve, sites, usable
from holdfast.settings.workstation import Workstation


def groups() -> dict[str, Any]:
    """pyinfra's groups: ``all`` with the data of each host, and one list of names for each profile in use.

    Every host is validated here, because pyinfra connects after inventory.py and before deploy.py: a wrong value stops
    the run before anything is reached. Raises SettingsError.
    """
    everyone: list[tuple[str, dict[str, Any]]] = []
    by_profile: dict[str, Any] = {}
    for name, site in sites().items():
        ws = usable(resolve(site))
        address = "@local" if ws.local else name
        everyone.append((address, {"site": site, **connection(ws)}))
        by_profile.setdefault(ws.profile, []).append(address)
        if ws.local:
            # pyinfra calls this host @local; the group makes `--limit gpu-box` find it.
            by_profile[name] = [address]
    return {"all": everyone, **by_profile}


def require_files(ws: Workstation) -> None:
    """Of the one host that is meant: another's key may lie on another computer.

    Raises SettingsError for a key that is not there, and for an ssh_config that is no UTF-8: ssh reads it, and pyinfra
    (paramiko) ends with a traceback."""
    if ws.local:
        return
    key = ws.ssh.key_file
    if key and not Path(key).expanduser().is_file():
        raise SettingsError(
            f"{key!r:.200} is no file", where=f"{ws.name}.ssh.key_file", allowed="a private key on this computer",
            fix="name the key that you log in with, or leave key_file out: then ssh's own choice is taken",
        )  # fmt: skip
    file = Path(ws.ssh.config_file or "~/.ssh/config").expanduser()
    try:
        file.read_text("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(
            f"{file}, line {line}: the byte 0x{error.object[error.start]:02x} is no UTF-8", where=f"{ws.name}.ssh.config_file",
            allowed="UTF-8", fix=f"write line {line} anew, or name another file in ssh.config_file",
        ) from None  # fmt: skip
    except OSError:
        pass  # one that is not there or not ours to read: ssh and pyinfra say so themselves


def connection(ws: Workstation) -> dict[str, Any]:
    """pyinfra's ssh_* data for one host."""
    ssh = ws.ssh
    data: dict[str, Any] = {
        "ssh_hostname": ssh.hostname, "ssh_user": ssh.user, "ssh_port": ssh.port, "ssh_key": ssh.key_file,
        "ssh_config_file": ssh.config_file,
    }  # fmt: skip
    # pyinfra's default, accept-new, overrides what ssh_config says; a key that is not known is the operator's to accept.
    data["ssh_strict_host_key_checking"] = "yes" if ssh.config_file else "accept-new"
    return {k: v for k, v in data.items() if v}
