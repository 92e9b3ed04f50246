"""A second release of Ollama, and a checkout that pins it: what a person has who moved the pin.

The program is the same one with another version in it, which it also tells; so it is another file, in another archive with
another hash. It is packed here from the depot's, and lies in the depot's folder while a test needs it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import depot
from holdfast.depot import lock, record
from holdfast.depot.builders.pack import members
from holdfast.paths import LOCKS, ROOT, cache_dir

from .holdfast_command import as_json, environment, holdfast

_SHIPPED = ("src", "tests", "templates", "group_data", "docs", "locks", "deploy.py", "inventory.py", "config.py",
            "pyproject.toml", "README.md")  # fmt: skip
_APPLY = """
import json, pathlib, sys
from holdfast.apply import run
print(json.dumps(run.apply(sys.argv[1], log=pathlib.Path(sys.argv[2])).changed))
"""


@dataclass(frozen=True)
class Second:
    """``folder`` and ``version``: as /opt/ollama names it. ``env``: with it what runs is that checkout's."""

    version: str
    folder: str
    env: dict[str, str]

    def apply(self, name: str, log: Path) -> list[str]:
        """What an apply has changed."""
        argv = [sys.executable, "-c", _APPLY, name, str(log)]
        done = subprocess.run(argv, env=environment(**self.env), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return list(json.loads(done.stdout))

    def verify(self, name: str, only: str) -> Any:
        """What `./holdfast verify NAME` says of the checks of one file."""
        done = holdfast("verify", name, "--json", PYTEST_ADDOPTS=f"-k {only}", **self.env)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return as_json(done)


def make(place: str, work: Path) -> Second:
    """``place``: a folder of its own in the depot, made here; ``work``: for the checkout, and a cache with another record."""
    pin = lock.pin("ollama")
    # Of the same length: the program has it in its read-only data.
    version = f"{pin.version[:-1]}{(int(pin.version[-1]) + 1) % 10}"
    file = depot.root() / place / version / Path(pin.file).name
    _repack(depot.path("ollama"), file, pin.version.encode(), version.encode(), work / "tree")
    checkout, cache = work / "checkout", work / "cache" / "holdfast"
    _checkout(checkout, pin.version, version, f"{place}/{{version}}/{file.name}")
    size, sha256 = record.digest(file)
    cache.mkdir(parents=True)
    for entry in cache_dir().iterdir():
        if entry.name != "built.json":
            (cache / entry.name).symlink_to(entry)
    known = json.loads(record.record_file().read_text("utf-8"))
    known["ollama"] |= {"version": version, "file": str(file.relative_to(depot.root())), "size": size, "sha256": sha256,
                        "members": members(file), "stamps": {}}  # fmt: skip
    (cache / "built.json").write_text(json.dumps(known))
    env = {"PYTHONPATH": str(checkout / "src"), "XDG_CACHE_HOME": str(cache.parent)}
    return Second(version, f"{version}-{sha256[:12]}", env)


def _repack(archive: Path, file: Path, old: bytes, new: bytes, tree: Path) -> None:
    tree.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", archive, "-C", tree], check=True)
    program = tree / "bin" / "ollama"
    data = program.read_bytes()
    assert old in data
    program.write_bytes(data.replace(old, new))
    file.parent.mkdir(parents=True)
    subprocess.run(["tar", "-I", "zstd -1", "-cf", file, "-C", tree, "."], check=True)
    shutil.rmtree(tree)


def _checkout(folder: Path, old: str, new: str, file: str) -> None:
    folder.mkdir()
    for name in _SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    path = folder / "locks" / lock.lock_file().relative_to(LOCKS)
    head, begin, rest = path.read_text("utf-8").partition("  ollama:\n")
    lines = rest.splitlines(keepends=True)
    for number, line in enumerate(lines[: next(n for n, line in enumerate(lines) if not line.strip())]):
        if line.startswith("    version:"):
            assert f'"{old}"' in line
            lines[number] = f'    version: "{new}"\n'
        if line.startswith("    file:"):
            lines[number] = f"    file: {file}\n"
    path.write_text(head + begin + "".join(lines), "utf-8")
