"""A folder of programs, mirrored exactly: one fact, one command, switched over in one rename."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import StringCommand, operation

from holdfast.operations.remote import PythonFact, program, python_command


def read_tree(dest: str) -> Any:
    """Runs on the host: ``{relative path: "mode owner sha256"}`` of everything below ``dest`` but byte code."""
    import hashlib
    import os

    out = {}
    for folder, folders, files in os.walk(dest):
        folders[:] = [f for f in folders if f != "__pycache__"]
        for name in files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if os.path.islink(path):
                digest = "link " + os.readlink(path)
            else:
                with open(path, "rb") as f:
                    digest = hashlib.sha256(f.read()).hexdigest()
            out[os.path.relpath(path, dest)] = f"{st.st_mode & 0o7777:o} {st.st_uid} {digest}"
    return out


class Tree(PythonFact):
    """The files below a folder; see read_tree."""

    reader = staticmethod(read_tree)


def write_tree(dest: str, files: dict[str, str]) -> Any:
    """Runs on the host: builds ``dest`` anew beside the old one and switches over."""
    import os
    import shutil

    new, old = dest + ".holdfast-new", dest + ".holdfast-old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    for name, text in files.items():
        path = os.path.join(new, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o644)
    for folder, _, _ in os.walk(new):
        os.chmod(folder, 0o755)
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    if os.path.lexists(dest):
        os.rename(dest, old)
    os.rename(new, dest)
    shutil.rmtree(old, ignore_errors=True)
    return len(files)


def sources(src: Path) -> dict[str, str]:
    """The Python files below ``src``: relative path -> text."""
    return {str(p.relative_to(src)): p.read_text("utf-8") for p in sorted(src.rglob("*.py"))}


@operation()
def tree(src: Path, dest: str) -> Iterator[StringCommand]:
    """Mirror the Python files below ``src`` to ``dest`` (root, 0644): edits, extra files and wrong modes are put right."""
    files = sources(src)
    want = {name: f"644 0 {hashlib.sha256(text.encode()).hexdigest()}" for name, text in files.items()}
    if Tree.read(host, dest=dest) == want:
        host.noop(f"{len(files)} files in {dest} are as they should be")
        return
    yield python_command(program(write_tree, dest=dest, files=files))
