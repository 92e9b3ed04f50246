"""Aider: environment from a hashed lock, settings that ask first, a wrapper that a repository cannot talk over."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.components.aider import files
from holdfast.operations.packages import packages
from holdfast.operations.place import place
from holdfast.operations.venv import venv
from holdfast.settings import Workstation


@deploy("Aider")
def aider(ws: Workstation) -> None:
    """For everybody who logs in; its state lies in each one's own home."""
    packages(name="Install git", packages=["git"], lock_timeout_s=ws.base.apt_lock_timeout_s)
    venv(name="Install Aider", lock=files.LOCK, dest=files.DEST, python=ws.aider.python)
    place(name="Write Aider's settings", entries=files.entries(ws))
