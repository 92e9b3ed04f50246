"""A program of ours that reads a machine through pyinfra, as a subprocess: what it must ask a person, this process asks."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence

from holdfast.apply.run import Run, environment, handle, parse_events
from holdfast.apply.variables import Ask
from holdfast.paths import ROOT
from holdfast.progress import QUIET


def asked(words: Sequence[str], host: str, ask: Ask) -> subprocess.CompletedProcess[str]:
    """Run ``words`` to their end. ``ask`` is called for a sudo password of ``host``, and the answer goes through a pipe.

    The subprocess must not ask by itself: what this process draws on the terminal would hide its question.
    """
    events_read, events_write = os.pipe()
    password_read, password_write = os.pipe()
    # Files: a pipe that nobody empties while a person types would stop the subprocess.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=[events_write, password_read],
            env=environment(host, None, events_write, password_read),
        )  # fmt: skip
        os.close(events_write)
        os.close(password_read)
        try:
            with open(events_read, encoding="utf-8", errors="replace") as lines, open(password_write, "w") as answers:
                for event in parse_events(lines):
                    handle(event, Run(), QUIET, ask, answers.write, answers.flush)
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(words, status, *texts)
