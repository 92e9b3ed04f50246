"""Versioned releases: fetched and checked, unpacked beside the old one, switched over by one link.

DEST/1.2.3-0123456789ab/            version and the archive's hash; ``.holdfast-release`` in it, the whole hash, comes last
DEST/current -> 1.2.3-0123456789ab
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from holdfast.operations.remote import PythonFact
from holdfast.paths import SHIPPED

if TYPE_CHECKING:
    from holdfast.depot import Artifact

FETCH = f"/usr/bin/python3 {SHIPPED}/fetch.py"
DOWNLOADS = "/var/cache/holdfast"


def folder(artifact: Artifact) -> str:
    """Its folder's name: an equal version of another origin is another folder, and so never replaces what runs."""
    return f"{artifact.version}-{artifact.sha256[:12]}"


def read_release(dest: str, name: str) -> Any:
    """Runs on the host: the SHA-256 of the archive that ``dest/name`` was unpacked from, and which folder is current."""
    import os

    marker = ""
    try:
        with open(os.path.join(dest, name, ".holdfast-release")) as f:
            marker = f.read().strip()
    except OSError:
        pass
    current = os.path.join(dest, "current")
    return {"marker": marker, "current": os.readlink(current) if os.path.islink(current) else ""}


class Release(PythonFact):
    """What is unpacked below ``dest``; see read_release."""

    reader = staticmethod(read_release)


def unpack_script(artifact: Artifact, dest: str) -> str:
    """Fetch, check, unpack to the release's folder and mark it once its files are on the disk.

    A cut at any point, the power's included, leaves the current release as it was.
    """
    archive = f"{DOWNLOADS}/{artifact.filename}"
    q = shlex.quote
    size = str(artifact.size) if artifact.size is not None else "-"
    target, new = f"{dest}/{folder(artifact)}", f"{dest}/.new-{folder(artifact)}"
    return "; ".join([
        "set -e",
        "umask 022",
        f"mkdir -p {q(dest)} {DOWNLOADS}",
        f"{FETCH} {q(artifact.url)} {size} {artifact.sha256} {q(archive)} >/dev/null",
        f"rm -rf {q(dest)}/.new-*",
        f"mkdir {q(new)}",
        f"tar -C {q(new)} --no-same-owner -xf {q(archive)}",
        f"sync -f {q(new)}",
        f"echo {artifact.sha256} > {q(new)}/.holdfast-release",
        f"rm -rf {q(target)}",
        f"mv {q(new)} {q(target)}",
        f"rm -f {q(archive)}",
    ])  # fmt: skip


def switch_script(name: str, dest: str) -> str:
    """Point ``dest/current`` at the folder ``name`` in one rename; older releases go.

    The one before stays for the way back if it is whole: its marker is the hash that its name says. So does any that a process
    runs from: an instance goes on with its own until what takes its place has answered.
    """
    q = shlex.quote
    return (
        f"set -e; cd {q(dest)}; old=$(readlink current || true); "
        'sha=$(cat "$old/.holdfast-release" 2>/dev/null || true); short=$(printf %.12s "$sha"); '
        '[ "${#sha}" = 64 ] && [ "${old%-"$short"}" != "$old" ] || old=; '
        f"ln -sfn {q(name)} .current; mv -T .current current; "
        f'for d in */; do d=${{d%/}}; case "$d" in {q(name)}|"$old"|current) continue;; esac; '
        'ls -l /proc/[0-9]*/exe 2>/dev/null | grep -qF -- " $(pwd -P)/$d/" || rm -rf "./$d"; done'
    )

