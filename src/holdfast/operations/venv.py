"""Python environments from a hashed lock: built beside the one in use, switched by one link.

/opt/NAME/<lock>-py3.11/            a whole environment; ``.complete`` in it is written last
/opt/NAME/current -> <lock>-py3.11
/opt/NAME/previous -> …             the one before, if it is whole: the way back
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.errors import HoldfastError
from holdfast.operations.remote import PythonFact

UV = "/opt/holdfast/uv/bin/uv"
SUPPORTED = ("3.11", "3.12")
"""Versions that the locked programs run on: Open WebUI wants 3.11 up to below 3.13, Aider 3.10 up to below 3.13."""


def lock_key(lock: Path) -> str:
    """Twelve hex digits that stand for the requirements in ``lock``; part of the environment's path."""
    try:
        return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise HoldfastError(
            f"the lock {lock} cannot be read: {error.strerror}", fix="git checkout -- locks/python"
        ) from error


def locked_version(lock: Path, package: str) -> str:
    """The version of ``package`` in ``lock``."""
    for line in lock.read_text("utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split()[0]
    raise ValueError(f"{lock} does not name {package}")


def read_environments(dest: str, python: str) -> Any:
    """Runs on the host: the version of ``python``, both links, every environment, which of them are complete and run, and
    which of these are sound: made from the very lock that the name stands for."""
    import hashlib
    import os
    import subprocess

    def output(argv: list[str]) -> str:
        try:
            return subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""

    def link(name: str) -> str:
        try:
            return os.readlink(os.path.join(dest, name))
        except OSError:
            return ""

    version = output([python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    present = sorted(n for n in (os.listdir(dest) if os.path.isdir(dest) else []) if "-py" in n)
    whole = [n for n in present if os.path.exists(os.path.join(dest, n, ".complete"))]
    complete = [n for n in whole if output([os.path.join(dest, n, "bin/python"), "-I", "-S", "-c", "print(1)"]) == "1"]
    sound = []
    for name in complete:
        try:
            with open(os.path.join(dest, name, "requirements.txt"), "rb") as f:
                sound += [name] if hashlib.sha256(f.read()).hexdigest()[:12] == name.partition("-")[0] else []
        except OSError:
            pass
    return {
        "python": version, "current": link("current"), "previous": link("previous"), "present": present,
        "complete": complete, "sound": sound,
    }  # fmt: skip


class Environments(PythonFact):
    """What lies in the folder; see read_environments."""

    reader = staticmethod(read_environments)


def wanted(key: str, python: str, found: str) -> tuple[str, str]:
    """Name of the environment and what to ask uv for.

    The machine's own interpreter where its version is supported, else the newest supported one from uv's releases: Debian
    13 has 3.13 only, which neither Open WebUI 0.12 nor Aider 0.86 accepts. ``found``: "" where there is none yet.
    """
    if python in SUPPORTED:
        return f"{key}-py{python}", python
    if found and found not in SUPPORTED:
        return f"{key}-py{SUPPORTED[-1]}", SUPPORTED[-1]
    return f"{key}-py{found or SUPPORTED[0]}", python


# $1 folder, $2 environment, $3 interpreter, $4 uv, $5 what finishes it; the lock comes by stdin. The marker is written last
# and only after the files are on the disk: after a power cut an environment is either whole or has no marker.
_BUILD = """
set -eu; umask 022; d=$1 v=$1/$2
[ -x "$4" ] || { echo "error: $4 is not there"; echo "Fix: apply all of it: the base component installs uv"; exit 1; } >&2
export UV_PYTHON_INSTALL_DIR=/opt/holdfast/python UV_CACHE_DIR=/var/cache/holdfast/uv UV_NO_PROGRESS=1
mkdir -p "$d"; rm -rf "$v"
"$4" venv -q --no-project --system-certs --python "$3" "$v"
cat > "$v/requirements.txt"
VIRTUAL_ENV="$v" "$4" pip sync -q --require-hashes --only-binary :all: --compile-bytecode --system-certs "$v/requirements.txt"
rm -f "$v/.lock"  # uv leaves it writable for everybody
cd "$v"; eval "$5"
sync -f "$v"; : > "$v/.complete"
""".strip()

# $1 folder, $2 environment, $3 the one to go back to, or empty.
_SWITCH = """
set -eu; cd "$1"
if [ -n "$3" ]; then ln -sfn "$3" previous.new; mv -T previous.new previous; fi
ln -sfn "$2" current.new; mv -T current.new current
""".strip()


def _shell(script: str, *words: str, stdin: str | None = None) -> StringCommand:
    command = " ".join(["sh", "-c", shlex.quote(script), "sh", *map(shlex.quote, words)])
    return StringCommand(command, _stdin=stdin) if stdin is not None else StringCommand(command)


@operation()
def venv(*, lock: Path, dest: str, python: str = "python3", uv: str = UV, finish: str = "") -> Iterator[StringCommand]:
    """Make ``dest``/current the environment that ``lock`` describes, hashes checked, bytecode compiled.

    ``python``: an interpreter on the machine, or one of SUPPORTED to be fetched by uv where the machine has none.
    ``finish``: shell commands that run in a new environment once all is installed; changed ones, with the next lock. An
    environment that was cut off is built anew; the one in use before is kept if it is whole, all others are removed.
    """
    key = lock_key(lock)
    asked = f"python{python}" if python in SUPPORTED else python
    state = Environments.read(host, dest=dest, python=asked) or {}
    current = state.get("current", "")
    name, interpreter = wanted(key, python, state.get("python", ""))
    built, switched = name in state.get("complete", ()), current == name
    if not built:
        yield _shell(_BUILD, dest, name, interpreter, uv, finish, stdin=lock.read_text("utf-8"))
    previous = state.get("previous", "")
    back = next((b for b in (current, previous) if b != name and b in state.get("sound", ())), "")
    if not switched:
        yield _shell(_SWITCH, dest, name, back)
    old = sorted(set(state.get("present", ())) - {name, back}) + (["previous"] if previous and not back else [])
    if old:
        yield StringCommand("rm", "-rf", "--", *(shlex.quote(f"{dest}/{entry}") for entry in old))
    if built and switched and not old:
        host.noop(f"{dest}/current is {name}")
