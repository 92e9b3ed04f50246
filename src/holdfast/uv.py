"""Where uv is on this computer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.paths import cache_dir


def find_uv() -> Path:
    """Path of a uv: $UV (which `uv run` sets), else the one on PATH, else one that ./holdfast has installed into its cache.

    Raises HoldfastError when there is none.
    """
    own = sorted(str(path) for path in cache_dir().glob("uv-*/bin/uv"))
    found = os.environ.get("UV") or shutil.which("uv") or next(iter(own), None)
    if not found:
        raise HoldfastError("uv is not installed", fix="remove .venv and run ./holdfast again: it installs uv")
    return Path(found)
