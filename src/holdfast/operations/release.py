"""Versioned releases: fetched and checked, unpacked beside the old one, switched over by one link."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.remote import PythonFact

if TYPE_CHECKING:
    from holdfast.depot import Artifact

FETCH = "/usr/bin/python3 /usr/local/lib/holdfast/holdfast_onhost/fetch.py"
DOWNLOADS = "/var/cache/holdfast"


def read_release(dest: str, version: str) -> Any:
    """Runs on the host: the SHA-256 of the archive that ``dest/version`` was unpacked from, and the current version."""
    import os

    marker = ""
    try:
        with open(os.path.join(dest, version, ".holdfast-release")) as f:
            marker = f.read().strip()
    except OSError:
        pass
    current = os.path.join(dest, "current")
    return {"marker": marker, "current": os.readlink(current) if os.path.islink(current) else ""}


class Release(PythonFact):
    """What is unpacked below ``dest``; see read_release."""

    reader = staticmethod(read_release)


def unpack_script(artifact: Artifact, dest: str) -> str:
    """Fetch, check, unpack to ``dest/VERSION`` and mark it; a cut at any point leaves the current release as it was."""
    archive = f"{DOWNLOADS}/{artifact.filename}"
    q = shlex.quote
    size = str(artifact.size) if artifact.size is not None else "-"
    target, new = f"{dest}/{artifact.version}", f"{dest}/.new-{artifact.version}"
    return "; ".join([
        "set -e",
        "umask 022",
        f"mkdir -p {q(dest)} {DOWNLOADS}",
        f"{FETCH} {q(artifact.url)} {size} {artifact.sha256} {q(archive)} >/dev/null",
        f"rm -rf {q(new)}",
        f"mkdir {q(new)}",
        f"tar -C {q(new)} --no-same-owner -xf {q(archive)}",
        f"echo {artifact.sha256} > {q(new)}/.holdfast-release",
        f"rm -rf {q(target)}",
        f"mv {q(new)} {q(target)}",
        f"rm -f {q(archive)}",
    ])  # fmt: skip


def switch_script(version: str, dest: str) -> str:
    """Point ``dest/current`` at ``version`` in one rename; the release before stays for the way back, older ones go."""
    q = shlex.quote
    return (
        f"set -e; cd {q(dest)}; old=$(readlink current || true); ln -sfn {q(version)} .current; mv -T .current current; "
        f'for d in */; do d=${{d%/}}; case "$d" in {q(version)}|"$old"|current) ;; *) rm -rf "./$d";; esac; done'
    )


@operation()
def release(artifact: Artifact, dest: str) -> Iterator[StringCommand]:
    """``artifact`` (a tar archive) unpacked as ``dest/VERSION`` and current."""
    found = Release.read(host, dest=dest, version=artifact.version) or {"marker": "", "current": ""}
    unpacked = found["marker"] == artifact.sha256
    if unpacked and found["current"] == artifact.version:
        host.noop(f"{dest} is at {artifact.version}")
        return
    if not unpacked:
        yield StringCommand(unpack_script(artifact, dest))
    if found["current"] != artifact.version:
        yield StringCommand(switch_script(artifact.version, dest))
