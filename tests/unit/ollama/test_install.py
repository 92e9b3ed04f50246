"""The tree that the units run: beside the vendor's files, which stay as they are, with the supervisor in llama-server's place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.components.ollama import files
from holdfast.components.ollama.install import tend_tree

WRAPPER = "#!/bin/sh\necho supervisor\n"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """What the vendor packs, in small: a program, two libraries, a folder of a card's."""
    root = tmp_path / "1.2.3-0123456789ab"
    (root / "bin").mkdir(parents=True)
    (root / "lib" / "ollama" / "cuda_v12").mkdir(parents=True)
    for name in ("bin/ollama", "lib/ollama/llama-server", "lib/ollama/libggml-base.so", "lib/ollama/cuda_v12/libggml-cuda.so"):
        (root / name).write_text(f'#!/bin/sh\necho "{name} $0 $*"\n')
        (root / name).chmod(0o755)
    return root


def vendors(release: Path) -> dict[str, tuple[int, bytes]]:
    found = (p for p in release.rglob("*") if p.is_file() and "serve" not in p.relative_to(release).parts)
    return {str(p): (p.stat().st_mode, p.read_bytes()) for p in found}


def test_made_once_and_the_vendors_files_are_left_alone(release: Path) -> None:
    before = vendors(release)
    assert tend_tree(str(release), WRAPPER, False) and not (release / "serve").exists(), "a look changes nothing"
    assert tend_tree(str(release), WRAPPER, True)
    assert tend_tree(str(release), WRAPPER, False) == []
    assert vendors(release) == before
    program = release / "serve" / "bin" / "ollama"
    assert program.samefile(release / "bin" / "ollama") and program.resolve() == program
    libraries = release / "serve" / "lib" / "ollama"
    assert (libraries / "cuda_v12" / "libggml-cuda.so").samefile(release / "lib/ollama/cuda_v12/libggml-cuda.so")
    assert (libraries / "llama-server").read_text() == WRAPPER
    # Also by another path: a release is unpacked elsewhere and moved.
    release.rename(release.with_name("moved"))
    assert tend_tree(str(release.with_name("moved")), WRAPPER, False) == []


DAMAGES: dict[str, Callable[[Path], object]] = {
    "another program": lambda serve: ((serve / "bin/ollama").unlink(), (serve / "bin/ollama").write_text("x")),
    "a link in its place": lambda serve: ((serve / "bin/ollama").unlink(), (serve / "bin/ollama").symlink_to("../../bin/ollama")),
    "the vendor's server": lambda serve: (
        (serve / "lib/ollama/llama-server").unlink(),
        (serve / "lib/ollama/llama-server").symlink_to("../../../lib/ollama/llama-server"),
    ),
    "an edited supervisor": lambda serve: (serve / "lib/ollama/llama-server").write_text("#!/bin/sh\n"),
    "not executable": lambda serve: (serve / "lib/ollama/llama-server").chmod(0o644),
    "a library missing": lambda serve: (serve / "lib/ollama/libggml-base.so").unlink(),
    "a link elsewhere": lambda serve: (
        (serve / "lib/ollama/cuda_v12").unlink(), (serve / "lib/ollama/cuda_v12").symlink_to("/tmp")
    ),
    "a library too many": lambda serve: (serve / "lib/ollama/old.so").write_text(""),
    "half a file of a cut": lambda serve: (serve / "bin/.holdfast-new").write_text(""),
    "folders open": lambda serve: (serve / "lib/ollama").chmod(0o777),
    "all of it": shutil.rmtree,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_seen_and_repaired(damage: Callable[[Path], object], release: Path) -> None:
    tend_tree(str(release), WRAPPER, True)
    before = vendors(release)
    damage(release / "serve")
    half = (release / "serve" / "bin" / ".holdfast-new").exists()
    assert half or tend_tree(str(release), WRAPPER, False)
    if half:  # harmless in itself, and no obstacle
        (release / "serve" / "bin" / "ollama").unlink()
    tend_tree(str(release), WRAPPER, True)
    assert tend_tree(str(release), WRAPPER, False) == []
    assert vendors(release) == before


def test_nothing_unpacked_is_not_whole(tmp_path: Path) -> None:
    assert tend_tree(str(tmp_path / "none"), WRAPPER, False)
    assert tend_tree(str(tmp_path / "none"), WRAPPER, True) and not (tmp_path / "none").exists()


def test_the_wrapper_finds_the_real_server_of_its_own_release(release: Path, tmp_path: Path) -> None:
    """Through `current` or not, and whatever that leads to meanwhile."""
    supervisor = tmp_path / "supervisor.py"
    supervisor.write_text("import os, sys\nprint(os.environ['HOLDFAST_LLAMA_SERVER'], *sys.argv[1:])\n")
    text = files.wrapper()
    ours = next(word for word in text.split() if word.endswith("supervisor.py"))
    assert ours == "/usr/local/lib/holdfast/holdfast_onhost/lease/supervisor.py"
    tend_tree(str(release), text.replace(ours, str(supervisor)), True)
    server = release / "serve" / "lib" / "ollama" / "llama-server"
    words = ["--list-devices", "two words"]
    told = subprocess.run([server, *words], capture_output=True, text=True, check=True, env={**os.environ}).stdout
    assert told == f"{release}/lib/ollama/llama-server --list-devices two words\n"
    (tmp_path / "current").symlink_to(release.name)
    link = str(server).replace(release.name, "current")
    told = subprocess.run([link, "x"], capture_output=True, text=True, check=True).stdout
    assert told == f"{tmp_path}/current/lib/ollama/llama-server x\n"
