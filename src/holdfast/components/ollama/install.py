"""Ollama's release and, in the same folder, the tree that the units run: the vendor's program with the lease's supervisor.

/opt/ollama/1.2.3-0123456789ab/       the vendor's, as it was packed
/opt/ollama/1.2.3-0123456789ab/serve  bin/ollama, the same file by a second name (a symlink would lead Ollama back to the
                                      vendor's tree), and lib/ollama: links to the vendor's, but for llama-server
/opt/ollama/current                   one rename switches both
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.release import Release, folder, switch_script, unpack_script
from holdfast.operations.remote import PythonFact, program, python_command

if TYPE_CHECKING:
    from holdfast.depot import Artifact


def tend_tree(release: str, wrapper: str, repair: bool) -> Any:
    """Runs on the host: what is wrong with ``release``/serve, whose llama-server has the text ``wrapper``. With ``repair`` it is
    put right, each file in one rename: a server may be running from there."""
    import os

    out = []

    def put(path: str, make: Any) -> None:
        out.append(path)
        if not repair:
            return
        new = os.path.join(os.path.dirname(path), ".holdfast-new")
        if os.path.lexists(new):
            os.unlink(new)
        make(new)
        os.replace(new, path)

    def write(new: str) -> None:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as f:
            f.write(wrapper)
            f.flush()
            os.fchmod(f.fileno(), 0o755)
            os.fsync(f.fileno())

    def whole(path: str) -> bool:
        try:
            about = os.lstat(path)
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8", errors="replace") as f:
                return (about.st_mode & 0o7777, about.st_uid) == (0o755, os.geteuid()) and f.read() == wrapper
        except OSError:
            return False

    binary, libraries = os.path.join(release, "bin", "ollama"), os.path.join(release, "lib", "ollama")
    if not os.path.isfile(binary) or not os.path.isdir(libraries):
        return [release]
    ours = os.path.join(release, "serve")
    ours_binary, ours_libraries = os.path.join(ours, "bin", "ollama"), os.path.join(ours, "lib", "ollama")
    for path in (ours, os.path.dirname(ours_binary), os.path.dirname(ours_libraries), ours_libraries):
        if os.path.islink(path) or not os.path.isdir(path) or os.lstat(path).st_mode & 0o7777 != 0o755:
            out.append(path)
            if repair:
                if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
                    os.unlink(path)
                os.makedirs(path, exist_ok=True)
                os.chmod(path, 0o755)
    if os.path.islink(ours_binary) or not os.path.exists(ours_binary) or not os.path.samefile(binary, ours_binary):
        put(ours_binary, lambda new: os.link(binary, new))
    server = os.path.join(ours_libraries, "llama-server")
    if not whole(server):
        put(server, write)
    links = {name: f"../../../lib/ollama/{name}" for name in os.listdir(libraries) if name != "llama-server"}
    for name, target in sorted(links.items()):
        path = os.path.join(ours_libraries, name)
        if not os.path.islink(path) or os.readlink(path) != target:
            put(path, lambda new, target=target: os.symlink(target, new))
    there = os.listdir(ours_libraries) if os.path.isdir(ours_libraries) else []
    for name in sorted(set(there) - {"llama-server"} - links.keys()):
        out.append(os.path.join(ours_libraries, name))
        if repair:
            os.unlink(out[-1])
    return out


class Tree(PythonFact):
    """The paths below a release that are not as they should be; see tend_tree."""

    reader = staticmethod(tend_tree)


@operation()
def install(artifact: Artifact, dest: str, wrapper: str) -> Iterator[StringCommand]:
    """``artifact`` unpacked below ``dest``, with the tree that the units run, and current. A cut leaves what runs as it was."""
    name = folder(artifact)
    found = Release.read(host, dest=dest, name=name) or {"marker": "", "current": ""}
    release = f"{dest}/{name}"
    unpacked = found["marker"] == artifact.sha256
    whole = unpacked and Tree.read(host, release=release, wrapper=wrapper, repair=False) == []
    if whole and found["current"] == name:
        host.noop(f"{dest} is at {name}")
        return
    if not unpacked:
        yield StringCommand(unpack_script(artifact, dest))
    if not whole:
        yield python_command(program(tend_tree, release=release, wrapper=wrapper, repair=True))
    if found["current"] != name:
        yield StringCommand(switch_script(name, dest))
