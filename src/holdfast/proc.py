"""Running other programs: output to a log, the telling lines in the error."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from holdfast.errors import HoldfastError


def run(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    log: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
    fix: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` without a terminal and return it with stdout and stderr as text.

    ``timeout`` is in seconds. With ``log`` both streams are appended there as well. Raises HoldfastError with the
    program's last lines when it is missing, too slow, or (``check``) ends with a status other than 0.
    """
    words = [str(a) for a in argv]
    try:
        done = subprocess.run(
            words, input=input, stdin=subprocess.DEVNULL if input is None else None, env=dict(env) if env else None,
            cwd=cwd, timeout=timeout, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise HoldfastError(f"{words[0]} is not installed", fix=fix or f"install the program {words[0]}") from None
    except subprocess.TimeoutExpired:
        raise HoldfastError(f"{words[0]} did not end within {timeout:g} s", where=" ".join(words), fix=fix) from None
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as out:
            out.write(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}")
    if check and done.returncode:
        tail = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()][-6:]
        where = " ".join(words) + (f" (log: {log})" if log else "")
        message = f"{words[0]} ended with status {done.returncode}: " + "\n  ".join(tail)
        raise HoldfastError(message, where=where, fix=fix)
    return done
