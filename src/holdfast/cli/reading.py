"""A program of ours that reads a machine through pyinfra, as a subprocess: what it must ask a person, this process asks."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence

from holdfast.apply.run import Run, attended
from holdfast.apply.variables import Ask


def asked(words: Sequence[str], host: str, ask: Ask) -> subprocess.CompletedProcess[str]:
    """Run ``words`` to their end. ``ask`` is called for a sudo password of ``host``, and the answer goes through a pipe."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = attended(words, host, out, err, run=Run(), ask=ask)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(words, status, *texts)
