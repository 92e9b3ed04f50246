"""Filling the local depot: the official release where it can be had, else the same artifact built here."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from holdfast import paths
from holdfast.depot import address, aptset, builders, lock, record, repository
from holdfast.depot.address import Artifact
from holdfast.depot.aptset import AptSet
from holdfast.depot.builders import Built, golang, pack
from holdfast.depot.download import download, probe
from holdfast.depot.lock import Pin
from holdfast.depot.record import Entry
from holdfast.errors import HoldfastError
from holdfast.progress import QUIET, Progress


def fetch(names: Iterable[str] | None = None, progress: Progress = QUIET, *, build: bool = True) -> dict[str, Artifact]:
    """Put artifacts (default: all that a depot has) into the local depot and return where they are now.

    The official release is taken when its hash is in the lock and its host answers; otherwise the artifact is built
    here, or HoldfastError is raised if ``build`` is False, or where a program is missing for that (`packages_needed`).
    What is there already is kept while its pin is unchanged and its files are intact. One fetch at a time: a second one
    waits. Safe to repeat after any interruption.
    """
    pins = lock.load()
    chosen = [lock.pin(name) for name in names] if names is not None else [p for p in pins.values() if p.file]
    if missing := [p.name for p in chosen if not p.file]:
        raise HoldfastError(
            f"{', '.join(missing)}: only taken from the vendor, by the workstation itself", fix="leave it out", code=2
        )
    with _alone(progress) as work:
        if lacking := packages_needed([pin.name for pin in chosen], build=build):
            raise HoldfastError(
                f"the depot cannot be filled without these Debian packages: {', '.join(lacking)}",
                where="this computer", fix=f"sudo apt-get install {' '.join(lacking)}",
            )  # fmt: skip
        for pin in chosen:
            _one(pin, work, progress, build)
        if names is None:
            shutil.rmtree(_parts(), ignore_errors=True)  # unfinished downloads of pins that have moved since
        entries = record.load()
        return {p.name: _artifact(p, entries[p.name]) for p in chosen}


def fetch_set(wanted: AptSet, progress: Progress = QUIET) -> Entry:
    """Put a set of the distribution's packages into the local depot, as the archive has them now. One fetch at a time."""
    with _alone(progress) as work:
        return aptset.fetch(wanted, work, progress)


def verify(names: Iterable[str] | None = None) -> dict[str, str]:
    """Read and hash every file again. Name -> "" when intact, else what is wrong. Touches nothing. Without names: all that is
    pinned, and the sets that are there."""
    entries = record.load()
    pins = lock.load()
    every = [*(p.name for p in pins.values() if p.file), *(n for n in entries if n not in pins)]
    chosen = list(names) if names is not None else every
    return {n: record.intact(entries[n], reread=True) if n in entries else "not in the depot" for n in chosen}


def update(name: str, progress: Progress = QUIET) -> Pin:
    """Download the release that the lock names, and write its size and SHA-256 into the lock (comments stay).

    This is the moment of trust: compare the hash with what the vendor publishes before you commit it.
    """
    pin = lock.pin(name)
    url = pin.url.replace("{distro}", "debian").replace("{codename}", "bookworm")
    with _alone(progress) as work:
        size, sha = download(url, work / "update", progress=progress)
    lock.write(name, size, sha)
    progress.note(f"{name} {pin.version}: {size} bytes, sha256:{sha}, from {url}")
    return lock.pin(name)


def packages_needed(names: Iterable[str] | None = None, *, build: bool = True) -> list[str]:
    """Debian packages that this computer lacks for what fetch() with the same words would fetch or build now."""
    chosen = set(names) if names is not None else None
    lacking: set[str] = set()
    for pin in lock.load().values():
        if not pin.file or (chosen is not None and pin.name not in chosen) or _there(pin):
            continue
        built = bool(_release_withheld(pin))
        if built and not (build and pin.builder):
            continue  # fetch() says that it cannot be had
        wanted = builders.programs(pin, built=built).items()
        lacking |= {package for program, package in wanted if not (shutil.which(program) or Path(program).is_file())}
    return sorted(lacking)


def _there(pin: Pin) -> bool:
    """Whether the depot has what the pin asks for now, undamaged."""
    entry = record.load().get(pin.name)
    return entry is not None and _current(pin, entry) and not record.intact(entry)


def _one(pin: Pin, work: Path, progress: Progress, build: bool) -> None:
    entries = record.load()
    entry = entries.get(pin.name)
    if entry is not None and _current(pin, entry):
        damage = record.intact(entry)
        if not damage:
            return
        progress.note(f"{damage}: made again")
    elsewhere = _release_withheld(pin)
    with progress.phase(f"depot: {pin.name} {pin.version}"):
        folder = work / pin.name
        folder.mkdir()
        if not elsewhere:
            file = folder / pin.filename
            part = _parts() / str(pin.sha256)
            download(pin.url, file, size=pin.size, sha256=pin.sha256, part=part, progress=progress)
            built, origin = Built(file), record.RELEASE
        elif build and pin.builder:
            progress.note(f"{pin.name} {pin.version} is built here: {elsewhere}")
            built, origin = builders.find(pin.builder)(pin, folder, _log(pin), progress), record.BUILT
        else:
            raise HoldfastError(
                f"{pin.name} {pin.version}: {elsewhere}",
                where=pin.url,
                fix=f"./holdfast depot update {pin.name} where the vendor can be reached",
            )
        also = _shelve(pin, built.file, folder)
    file = record.root() / pin.file
    size, sha = record.digest(file)
    made = Entry(
        name=pin.name, version=pin.version, origin=origin, inputs=_inputs(pin, origin, built.parts), file=pin.file,
        size=size, sha256=sha, members=pack.members(file), also=also, parts=built.parts,
    )  # fmt: skip
    made = dataclasses.replace(made, stamps={f: record.stamp(record.root() / f) for f in made.files()})
    record.store(entries | {pin.name: made})
    shutil.rmtree(folder)


def _parts() -> Path:
    """Unfinished downloads, named by what they shall be; a later run goes on with them."""
    return paths.cache_dir() / "depot-part"


def _release_withheld(pin: Pin) -> str:
    """Empty when the official release can be taken now, else why not."""
    if not pin.verified:
        return f"the official release's hash is {lock.UNVERIFIED} (./holdfast depot update {pin.name})"
    return probe(pin.url)


def _current(pin: Pin, entry: Entry | None) -> bool:
    """Whether what is recorded is what the pin asks for now."""
    if entry is None or entry.file != pin.file:
        return False
    return entry.inputs == _inputs(pin, entry.origin, entry.parts)


def _inputs(pin: Pin, origin: str, parts: dict[str, str]) -> str:
    common = {"version": pin.version, "url": pin.url, "sha256": pin.sha256, "suites": list(pin.suites)}
    if origin == record.RELEASE:
        return record.inputs(**common)
    return record.inputs(**common, recipe=builders.RECIPE, go=golang.module_inputs(pin.name), parts=parts)


def _shelve(pin: Pin, made: Path, work: Path) -> dict[str, list[int | str]]:
    """Move what was made into the depot; for a package with the repository around it. Other files' sizes and hashes."""
    made.chmod(0o755 if pin.filename == pin.name else 0o644)
    if not pin.suites:
        target = record.root() / pin.file
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        return {}
    target = record.root() / address.repository(pin)
    repository.put([made], target, pin.suites, work, _log(pin))
    others = sorted(p for p in target.rglob("*") if p.is_file() and p != record.root() / pin.file)
    return {str(p.relative_to(record.root())): list(record.digest(p)) for p in others}


def _artifact(pin: Pin, entry: Entry) -> Artifact:
    return Artifact(
        pin.name,
        entry.version,
        (record.root() / entry.file).as_uri(),
        entry.size,
        entry.sha256,
        entry.origin,
        pin.filename,
    )


def _log(pin: Pin) -> Path:
    return paths.cache_dir() / "logs" / f"depot-{pin.name}.log"


@contextlib.contextmanager
def _alone(progress: Progress) -> Iterator[Path]:
    """Hold the depot's lock and offer an empty work folder on the same file system; both end with the block.

    The lock is a flock on the folder itself: it dies with its holder and leaves no file in what is served.
    """
    try:
        record.root().mkdir(parents=True, exist_ok=True)
        fd = os.open(record.root(), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        fix = "make the folder writable, or set XDG_CACHE_HOME to one that is"
        raise HoldfastError(
            f"the depot's folder cannot be used: {e.strerror}", where=str(record.root()), fix=fix
        ) from e
    work = paths.cache_dir() / "depot-work"
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note("another run fills the depot; waiting for it")
            fcntl.flock(fd, fcntl.LOCK_EX)
        shutil.rmtree(work, ignore_errors=True)  # what a killed run left
        work.mkdir(mode=0o755)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(fd)
