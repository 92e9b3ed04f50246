"""Where uv is on this computer."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from holdfast.errors import HoldfastError


def find_uv() -> Path:
    """Path of a uv: $UV (which `uv run` sets), else the link that ./holdfast puts into .venv, else the one on PATH.

    Raises HoldfastError when there is none.
    """
    own = shutil.which(Path(sys.prefix) / "bin" / "uv")
    found = os.environ.get("UV") or own or shutil.which("uv")
    if not found:
        raise HoldfastError("uv is not installed", fix="remove .venv and run ./holdfast again: it installs uv")
    return Path(found)
