"""llama-server and llama-quantize from Debian's llama.cpp-tools, in one folder that runs on older releases too.

Debian sid has a build that takes every option Ollama 0.32 passes. It is made for sid's C library, so its own loader and
libraries come along; ggml looks for its CPU backends in the folder of the running executable, which is then the
loader's: hence one flat folder. That folder is *beside* lib/ollama and not in it: Ollama starts llama-server with
LD_LIBRARY_PATH=lib/ollama (llm/llama_server.go, llamaServerLibraryPaths), and sid's libc.so.6 found there would break
every ordinary program in between, the shell of the launcher first.
"""

from __future__ import annotations

import re
import shutil
import urllib.parse
from pathlib import Path

from holdfast import proc
from holdfast.errors import HoldfastError
from holdfast.progress import Progress

PACKAGE = "llama.cpp-tools"
LEAST = "1:0.7.0+dfsg-2"
"""Oldest package version known to take Ollama 0.32's options."""
PROGRAMS = ("llama-server", "llama-quantize")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LAUNCHER = """#!/bin/sh
# Debian's {program}, run by its own loader: it needs a newer C library than this machine may have.
here=$(readlink -f "$0")
here=${{here%/lib/*}}/lib/llama.cpp
exec "$here/ld-linux-x86-64.so.2" --library-path "$here" "$here/{program}.bin" "$@"
"""


def add(to: Path, work: Path, log: Path, progress: Progress) -> dict[str, str]:
    """Put launchers into ``to``/lib/ollama and the rest into ``to``/lib/llama.cpp; package versions are returned."""
    progress.note(f"fetching {PACKAGE} from Debian sid")
    tree = work / "sid"
    versions = _unpack(tree, work / "sid.tar", log)
    _newer_than_least(versions)
    own, launchers = to / "lib" / "llama.cpp", to / "lib" / "ollama"
    own.mkdir(parents=True)
    launchers.mkdir(parents=True)
    loader = tree / LIBRARIES / "ld-linux-x86-64.so.2"
    shutil.copy2(loader, own / loader.name, follow_symlinks=True)
    for program in PROGRAMS:
        _copy_with_libraries(tree / "usr" / "bin" / program, own / f"{program}.bin", tree)
        (launchers / program).write_text(LAUNCHER.format(program=program))
        (launchers / program).chmod(0o755)
    backends = sorted((tree / LIBRARIES).glob("ggml/backends*/libggml-cpu-*.so"))
    if not backends:
        raise HoldfastError(
            f"{PACKAGE} {versions[PACKAGE]} has no CPU backend", fix="see src/holdfast/depot/builders/llama.py"
        )
    for backend in backends:
        _copy_with_libraries(backend, own / backend.name, tree)
    shutil.copy2(tree / "usr/share/doc" / PACKAGE / "copyright", own / "copyright")
    proc.run([launchers / "llama-server", "--version"], log=log)  # proves that it starts on this computer's release
    return versions


def _unpack(tree: Path, tar: Path, log: Path) -> dict[str, str]:
    """Fetch the package with all it needs; no mirror is named: the tool's default. apt checks every signature.

    A tar and not a folder: without root, mmdebstrap makes folders that belong to other user ids.
    The package files are kept in it: their names are the only place where an extracted tree says its versions.
    """
    proc.run(
        ["mmdebstrap", "--variant=extract", f"--include={PACKAGE}", "--skip=cleanup/apt/cache", "--format=tar",
         # Mirrors that are snapshots serve a sid whose Release file has run out; signatures are checked all the same.
         '--aptopt=Acquire::Check-Valid-Until "false"', "sid", tar],
        log=log, fix=f"see {log}; a Debian mirror must be reachable (apt install mmdebstrap debian-archive-keyring)",
    )  # fmt: skip
    tree.mkdir()
    proc.run(
        ["tar", "-xf", tar, "-C", tree, "--no-same-owner", "--wildcards", "./usr/*", "./var/cache/apt/archives/*.deb"],
        log=log,
    )
    tar.unlink()
    names = [urllib.parse.unquote(p.name) for p in tree.glob("var/cache/apt/archives/*.deb")]
    return {n.split("_")[0]: n.split("_")[1] for n in sorted(names)}


def _newer_than_least(versions: dict[str, str]) -> None:
    found = versions.get(PACKAGE, "")
    if not found or proc.run(["dpkg", "--compare-versions", found, "ge", LEAST], check=False).returncode:
        raise HoldfastError(
            f"{PACKAGE} {found or '(none)'} is too old",
            where="Debian sid",
            allowed=f"at least {LEAST}",
            fix="use a mirror that is up to date",
        )


def _copy_with_libraries(source: Path, to: Path, tree: Path) -> None:
    """Copy a program or library and the shared libraries it needs, as the tree's own loader finds them."""
    shutil.copy2(source, to, follow_symlinks=True)
    folders = f"{tree / LIBRARIES}:{tree / LIBRARIES / 'llama'}"
    listing = proc.run([tree / LIBRARIES / "ld-linux-x86-64.so.2", "--library-path", folders, "--list", source]).stdout
    for name, where in re.findall(r"^\s*(\S+) => (\S+)", listing, re.M):
        if where == "not" or not Path(where).is_relative_to(tree):
            raise HoldfastError(
                f"{source.name} needs {name}, which {PACKAGE} did not bring",
                fix="see src/holdfast/depot/builders/llama.py",
            )
        if not (to.parent / name).exists():
            shutil.copy2(where, to.parent / name, follow_symlinks=True)
