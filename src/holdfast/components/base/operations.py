"""Trusted authorities, and uv."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.place import File, Paths, differing, writing
from holdfast.operations.remote import PythonFact

CERTIFICATES = "/usr/local/share/ca-certificates"


def read_authorities(bundle: str, folder: str, certificates: dict[str, str]) -> Any:
    """Runs on the host: which of ``certificates`` are not in the bundle that update-ca-certificates makes, and which of
    ours in ``folder`` nobody declares; the names of the latter without the mark of a removal that was cut off.
    ``stale``: links beside the bundle that lead to none of those declared (somebody removed the file by hand)."""
    import os

    try:
        with open(bundle) as f:
            text = f.read()
    except OSError:
        text = ""
    try:
        there = [n.removesuffix(".removed") for n in os.listdir(folder) if n.startswith("holdfast-")]
    except OSError:
        there = []
    try:
        links = [n for n in os.listdir(os.path.dirname(bundle)) if n.startswith("holdfast-") and n.endswith(".pem")]
    except OSError:
        links = []
    return {
        "stale": sorted(n for n in links if n[: -len("pem")] + "crt" not in certificates),
        "untrusted": [name for name, pem in certificates.items() if pem.strip() not in text],
        "undeclared": sorted({n for n in there if n.endswith(".crt") and n not in certificates}),
    }


class Authorities(PythonFact):
    """Declared certificates that the machine does not trust yet, undeclared ones that it does; see read_authorities."""

    reader = staticmethod(read_authorities)


@operation()
def authorities(certificates: Mapping[str, str]) -> Iterator[StringCommand]:
    """``{file name: PEM}`` into the machine's trusted authorities; the bundle itself is looked at, not only the files.

    Every other ``holdfast-*.crt`` there is one that hosts.yml named before: it is trusted no longer.
    """
    entries = [File(f"{CERTIFICATES}/{name}", pem) for name, pem in certificates.items()]
    changed = differing(entries, Paths.read(host, paths=[e.path for e in entries], contents=[]))
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    found = Authorities.read(host, bundle=bundle, folder=CERTIFICATES, certificates=dict(certificates)) or {}
    undeclared = found.get("undeclared", [])
    stale = undeclared or found.get("stale", [])
    if not changed and not stale and found.get("untrusted", [*certificates]) == []:
        host.noop(f"{len(certificates)} authorities are trusted")
        return
    if changed:
        yield writing(changed)
    if not stale:
        yield StringCommand("update-ca-certificates >/dev/null")
        return
    # Put aside under names that update-ca-certificates overlooks, gone once the bundle is made without them: an apply that
    # is cut off in between still finds what it had to do. --fresh: only then do the links in /etc/ssl/certs go too.
    paths = [shlex.quote(f"{CERTIFICATES}/{name}") for name in undeclared]
    aside = [f"[ ! -e {path} ] || mv -f {path} {path}.removed" for path in paths]
    gone = [f"rm -f {path}.removed" for path in paths]
    yield StringCommand("; ".join(["set -e", *aside, "update-ca-certificates --fresh >/dev/null", *gone]))


def read_uv(link: str) -> Any:
    """Runs on the host: the lock hash that the installed uv was made from; empty when it does not run."""
    import os
    import subprocess

    try:
        with open(os.path.join(link, ".holdfast-lock")) as f:
            marker = f.read().strip()
        subprocess.run([os.path.join(link, "bin", "uv"), "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return marker


class Uv(PythonFact):
    """Which lock the installed uv was made from; see read_uv."""

    reader = staticmethod(read_uv)


@operation()
def uv(lock: str) -> Iterator[StringCommand]:
    """uv in a virtual environment of its own at /opt/holdfast/uv, from a requirement with hashes (``lock``: its text)."""
    digest = hashlib.sha256(lock.encode()).hexdigest()[:12]
    if Uv.read(host, link="/opt/holdfast/uv") == digest:
        host.noop("uv is as pinned")
        return
    home = f"/opt/holdfast/uv-{digest}"
    # PIP_CERT: pip brings authorities of its own; the machine's are the ones its owner decided on. pip itself runs from the
    # wheel that python3-venv brings along: to install it first takes longer than all the rest, and for this one time.
    yield StringCommand(
        f"set -e; umask 022; rm -rf {home}; python3 -m venv --without-pip {home}; "
        f"cat > {home}/requirements.txt; "
        f"out=$(PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 "
        f"PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl) {home}/bin/python -m pip install -q "
        f'--no-deps --require-hashes -r {home}/requirements.txt 2>&1) || {{ echo "$out" | tail -n 8 >&2; exit 1; }}; '
        f"echo {digest} > {home}/.holdfast-lock; ln -sfn {shlex.quote(home.rsplit('/', 1)[1])} /opt/holdfast/.uv; "
        "mv -T /opt/holdfast/.uv /opt/holdfast/uv; "
        f'for d in /opt/holdfast/uv-*; do [ "$d" = {home} ] || rm -rf "$d"; done',
        _stdin=lock,
    )
