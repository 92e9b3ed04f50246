"""The store's folder must be the one that is meant: an unmounted disk, or a wrong path, gets no new store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.components.models.files import DEFAULT
from holdfast.errors import HoldfastError
from holdfast.operations.failing import stop
from holdfast.operations.remote import PythonFact


def read_folder(path: str, fstab: str) -> Any:
    """Runs on the host: what lies at `path`.

    Returns {"unmounted": mount point of /etc/fstab on the way to it that has nothing mounted, or "", "kind": absent, link,
    folder or other, "store": are blobs and manifests there, "foreign": names of what is no store's, "root_disk": bool}.
    """
    import os
    import re

    out: dict[str, Any] = {"unmounted": "", "kind": "absent", "store": False, "foreign": [], "root_disk": False}
    try:
        with open(fstab) as file:
            fields = [line.split() for line in file if line.strip() and not line.lstrip().startswith("#")]
    except OSError:
        fields = []
    for field in fields:
        place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field[1]) if len(field) > 1 else ""
        place = place.rstrip("/")
        if place.startswith("/") and (path + "/").startswith(place + "/") and not os.path.ismount(place):
            out["unmounted"] = place
    if os.path.islink(path):
        out["kind"] = "link"
    elif os.path.lexists(path):
        out["kind"] = "folder" if os.path.isdir(path) else "other"
    if out["kind"] == "folder":
        names = set(os.listdir(path))
        out["store"] = {"blobs", "manifests"} <= names
        out["foreign"] = sorted(names - {"blobs", "manifests", ".fetch", "lost+found"})[:5]
        out["root_disk"] = os.stat(path).st_dev == os.stat("/").st_dev
    return out


class StoreFolder(PythonFact):
    """What lies where the store is declared; see read_folder."""

    reader = staticmethod(read_folder)


def obstacle(path: str, found: dict[str, Any] | None) -> HoldfastError | None:
    """The reason not to use `path`, if there is one; pure. `found` None: a machine without python3, which has no store."""
    if found is None:
        found = {"unmounted": "", "kind": "absent", "store": False, "foreign": [], "root_disk": True}

    def wrong(message: str, fix: str) -> HoldfastError:
        return HoldfastError(f"the model store {path} {message}", where="models.store", fix=fix)

    elsewhere = "or correct models.store in hosts.yml"
    if found["unmounted"]:
        place = found["unmounted"]
        return wrong(f"is not mounted: nothing is at {place}, which /etc/fstab names", f"on the machine: mount {place}")
    if found["kind"] == "link":
        return wrong("is a symbolic link", "write the path that it leads to: models.store in hosts.yml")
    if path == DEFAULT:
        return None
    if found["kind"] == "absent":
        return wrong("does not exist", f"mount its disk, {elsewhere}; on the machine: mkdir -p {path}/blobs {path}/manifests")
    if found["kind"] == "other":
        return wrong("is no folder", elsewhere.removeprefix("or "))
    if found["store"]:
        return None
    if found["foreign"]:
        return wrong(f"holds something else: {', '.join(found['foreign'])}", f"name an empty folder, {elsewhere}")
    if found["root_disk"]:
        return wrong(
            "is an empty folder on the root disk: its own disk is not mounted?",
            f"mount it; if the root disk is meant, on the machine: mkdir {path}/blobs {path}/manifests",
        )
    return None


@operation()
def require_folder(path: str) -> Iterator[FunctionCommand]:
    """Stops this host when the model store cannot be at `path`."""
    problem = obstacle(path, StoreFolder.read(host, path=path, fstab="/etc/fstab"))
    if problem is None:
        host.noop(f"models may lie in {path}")
        return
    yield from stop(problem)
