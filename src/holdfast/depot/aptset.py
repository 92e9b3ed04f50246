"""Packages of a distribution that belong together, on the depot: fetched with all that they need, in a repository of their own.

What a driver is (its libraries, the source of its modules, the kernel and the headers they are built for, the compiler) changes
from day to day in the archive, and an older kernel's headers are soon gone from it. So such a set is taken at one moment. Its
bytes are the distribution's, checked by apt against the distribution's own keys; the folder is signed with this computer's.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast import paths, proc
from holdfast.depot import record, repository
from holdfast.depot.record import Entry
from holdfast.errors import HoldfastError
from holdfast.progress import QUIET, Progress
from holdfast.versions import version_key

PROGRAMS = {"apt-get": "apt", "apt-ftparchive": "apt-utils", "gpg": "gnupg", "gpgconf": "gpgconf"}


@dataclass(frozen=True)
class AptSet:
    """``packages`` of one release ("trixie"), by ``sources`` (deb822 text, with Signed-By). ``main``: the one whose version is
    the set's."""

    name: str
    suite: str
    packages: tuple[str, ...]
    sources: str
    main: str

    @property
    def folder(self) -> str:
        """Its repository, below the depot."""
        return f"apt/{self.name}"


def lacking() -> list[str]:
    """Debian packages that this computer lacks for a fetch."""
    return sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})


def fetch(wanted: AptSet, work: Path, progress: Progress = QUIET) -> Entry:
    """Resolve the set against the archive as it is now, download what is not there yet, and put it into the depot.

    ``work``: an empty folder on the depot's file system. Every package comes with all that it needs, down to libc: no machine
    is asked what it has. Raises HoldfastError where the archive cannot be reached, or lacks one of the packages.
    """
    if need := lacking():
        raise HoldfastError(
            f"a set of packages cannot be fetched without: {', '.join(need)}", where="this computer",
            fix=f"sudo apt-get install {' '.join(need)}",
        )  # fmt: skip
    log = paths.cache_dir() / "logs" / f"depot-{wanted.name}.log"
    archives, there = work / "cache/archives", record.root() / wanted.folder
    (archives / "partial").mkdir(parents=True)
    pool = {deb.name: deb for deb in (there / "pool").glob("*.deb")}
    for name, deb in pool.items():
        os.link(deb, archives / name)
    with progress.phase(f"depot: {wanted.name}"):
        apt = _apt(wanted, work)
        fix = f"can this computer reach the archive? {log} has apt's words"
        proc.run([*apt, "update"], log=log, fix=fix)
        empty = ["-o", f"Dir::Cache={work / 'none'}"]
        said = proc.run([*apt, *empty, "--print-uris", "install", *wanted.packages], log=log, fix=fix).stdout
        names = re.findall(r"^'\S+' (\S+\.deb) \d+", said, re.M)
        entry = record.load().get(wanted.name)
        if entry is not None and set(names) == set(pool) and not record.intact(entry):
            return entry
        new = len(set(names) - set(pool))
        progress.note(f"fetching {new} of {len(names)} packages: {', '.join(wanted.packages)} and what they need")
        # What is there already is compared with the archive's hashes, too.
        proc.run([*apt, "install", *wanted.packages], log=log, fix=fix)
        repository.put([archives / name for name in names], there, (wanted.suite,), work, log)
        return _recorded(wanted)


def _apt(wanted: AptSet, work: Path) -> list[str]:
    """apt-get with nothing of this computer's: neither its sources nor its packages."""
    for folder in ("state/lists/partial", "none/archives/partial", "etc"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "etc/set.sources").write_text(wanted.sources)
    settings = [
        f"Dir::State={work / 'state'}", f"Dir::State::status={work / 'status'}", f"Dir::Cache={work / 'cache'}",
        "Dir::Etc::sourcelist=/dev/null", f"Dir::Etc::sourceparts={work / 'etc'}", "Dir::Etc::preferences=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null", "APT::Architecture=amd64", "APT::Architectures=amd64",
        "APT::Install-Recommends=false", "APT::Get::Download-Only=true", "Acquire::Languages=none", "Debug::NoLocking=true",
    ]  # fmt: skip
    if os.geteuid() == 0:
        settings.append("APT::Sandbox::User=root")  # apt's own user may not enter the cache
    return ["apt-get", "-q", "-y", *(word for setting in settings for word in ("-o", setting))]


def _recorded(wanted: AptSet) -> Entry:
    """The record of what is there now: every package with its version."""
    target = record.root() / wanted.folder
    parts = versions(target / "dists" / wanted.suite / "main/binary-amd64/Packages")
    files = {str(p.relative_to(record.root())): record.digest(p) for p in sorted(target.rglob("*")) if p.is_file()}
    main = next(name for name in files if f"/pool/{wanted.main}_" in name)
    size, sha = files.pop(main)
    made = Entry(
        name=wanted.name, version=parts[wanted.main], origin=record.RELEASE, inputs=record.inputs(packages=wanted.packages),
        file=main, size=size, sha256=sha, also={name: list(found) for name, found in files.items()}, parts=parts,
    )  # fmt: skip
    made = replace(made, stamps={f: record.stamp(record.root() / f) for f in made.files()})
    record.store(record.load() | {wanted.name: made})
    return made


def versions(index: Path) -> dict[str, str]:
    """Package -> version, of a repository's Packages file."""
    stanzas = [
        dict(re.findall(r"^(Package|Version): (.*)$", stanza, re.M)) for stanza in index.read_text().split("\n\n")
    ]
    return {found["Package"]: found["Version"] for found in stanzas if found}


def kernels(entry: Entry) -> list[str]:
    """The kernels whose image and headers both are in it."""
    images = {name.removeprefix("linux-image-") for name in entry.parts if re.match(r"linux-image-\d", name)}
    there = [release for release in images if f"linux-headers-{release}" in entry.parts]
    return sorted(there, key=version_key)
