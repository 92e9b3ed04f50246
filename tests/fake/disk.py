"""Paths: what holdfast.operations.place and .tree do on a machine."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests.fake.machine import Failed, Inode, Machine, runs

from holdfast.operations.place import read_paths, write_entries
from holdfast.operations.tree import read_tree, write_tree


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@runs(read_paths)
def look(m: Machine, paths: list[str], contents: list[str]) -> Any:
    out = {}
    for path in paths:
        node = m.disk.get(path)
        if node is None:
            out[path] = {"kind": "absent"}
            continue
        entry = {"kind": node.kind, "mode": node.mode, "user": node.user, "group": node.group}
        if node.kind == "file":
            entry["sha256"] = sha256(node.data)
            if path in contents:
                entry["content"] = base64.b64encode(node.data).decode()
        if node.kind == "link":
            entry["target"] = node.target
        out[path] = entry
    return out


@runs(write_entries)
def write(m: Machine, entries: list[dict[str, Any]]) -> int:
    """One step an entry, or a row of folders: power may go between any two of them."""
    kind = ""
    for e in entries:
        path, there = e["path"], m.disk.get(e["path"])
        if (kind, e["kind"]) != ("directory", "directory"):
            m.change(f"{e['kind']} {path}")
        kind = e["kind"]
        if e["kind"] == "absent" or (there and there.kind == "directory" and e["kind"] != "directory"):
            if any(name.startswith(path + "/") for name in m.disk):
                raise Failed(f"OSError: [Errno 39] Directory not empty: '{path}'")
            m.remove(path)
        if e["kind"] == "link":
            m.put(path, Inode("link", "777", target=e["target"]))
        elif e["kind"] != "absent":
            mode = format(int(e["mode"], 8), "o")
            m.put(path, Inode(e["kind"], mode, e["user"], e["group"], base64.b64decode(e.get("content", ""))))
    return len(entries)


@runs(read_tree)
def look_tree(m: Machine, dest: str) -> Any:
    files = {p: n for p, n in m.disk.items() if p.startswith(dest + "/") and n.kind == "file"}
    return {p[len(dest) + 1 :]: f"{n.mode} {0 if n.user == 'root' else 1000} {sha256(n.data)}" for p, n in files.items()}


@runs(write_tree)
def mirror(m: Machine, dest: str, files: dict[str, str]) -> int:
    """Two renames, and the power may go between them."""
    m.change(f"move {dest} away")
    m.remove(dest)
    m.change(f"move the new {dest} there")
    m.put(dest, Inode("directory"))
    for name, text in files.items():
        m.write(f"{dest}/{name}", text)
    return len(files)
