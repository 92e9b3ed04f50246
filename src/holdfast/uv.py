"""Where uv is on this computer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.paths import cache_dir


def find_uv() -> Path:
    """The uv that runs us ($UV), the one on PATH, or the one that ./holdfast has installed for itself."""
    own = sorted(str(path) for path in cache_dir().glob("uv-*/bin/uv"))
    found = os.environ.get("UV") or shutil.which("uv") or next(iter(own), None)
    if not found:
        raise HoldfastError("uv is not installed", fix="remove .venv and run ./holdfast again: it installs uv")
    return Path(found)
