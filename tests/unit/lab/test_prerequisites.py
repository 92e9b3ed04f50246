from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.clock import Clock

from holdfast import depot
from holdfast.errors import HoldfastError
from holdfast.lab import Lab, prerequisites
from holdfast.lab.vm.lab import VmLab
from holdfast.progress import Progress, Quiet


class Notes(Quiet):
    """A progress that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that runs the script in the file `does`, and writes down how it was called."""
    program = tmp_path / "apt-get"
    program.write_text(
        f'#!/bin/sh\necho "$DEBIAN_FRONTEND $NEEDRESTART_SUSPEND $*" >> {tmp_path}/calls\n. {tmp_path}/does\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_apt_is_asked_without_questions(apt: Path) -> None:
    (apt / "does").write_text("exit 0\n")
    prerequisites.apt(["update"])
    said = (apt / "calls").read_text()
    assert said.startswith("noninteractive 1 -q -y ") and said.endswith(" --no-install-recommends update\n")
    assert "Dpkg::Options::=--force-confold" in said


def test_apts_lock_is_waited_for_and_said_once(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "time", Clock())
    (apt / "does").write_text(
        f'[ "$(wc -l < {apt}/calls)" -ge 4 ] && exit 0\n'
        'echo "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)" >&2; exit 100\n'
    )
    notes = Notes()
    prerequisites.apt(["update"], notes)
    assert len((apt / "calls").read_text().splitlines()) == 4
    assert len(notes.lines) == 1
    assert "lock" in notes.lines[0]


def test_a_lock_that_is_never_freed_ends_the_wait(apt: Path) -> None:
    (apt / "does").write_text('echo "E: Could not get lock /var/lib/apt/lists/lock." >&2; exit 100\n')
    with pytest.raises(HoldfastError, match="lock"):
        prerequisites.apt(["update"], seconds=0)


def test_another_failure_shows_apts_words_at_once(apt: Path) -> None:
    (apt / "does").write_text('echo "E: Unable to locate package mmdebstrap" >&2; exit 100\n')
    with pytest.raises(HoldfastError, match="Unable to locate package mmdebstrap"):
        prerequisites.apt(["install", "mmdebstrap"])
    assert len((apt / "calls").read_text().splitlines()) == 1


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prerequisites, "PROGRAMS", {"sh": "dash", "no-such-program": "its-package"})
    monkeypatch.setattr(prerequisites, "FILES", {str(tmp_path): "here", str(tmp_path / "x"): "not-here"})
    assert prerequisites.missing() == ["its-package", "not-here"]


@pytest.mark.parametrize(("kind", "besides"), [(Lab, []), (VmLab, ["an-emulator"])])
def test_a_lab_asks_apt_once_for_all_that_it_and_its_depot_lack(
    kind: type[Lab], besides: list[str], apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(apt / "state"))
    (apt / "does").write_text('case "$*" in *" install "*) touch "${0%/*}/installed";; esac\n')
    monkeypatch.setattr(prerequisites, "PROGRAMS", {"no-such-program": "its-package"})
    monkeypatch.setattr(prerequisites, "VM_PROGRAMS", {"no-such-emulator": "an-emulator"})
    monkeypatch.setattr(prerequisites, "FILES", {})
    monkeypatch.setattr(prerequisites, "TUN", apt)
    monkeypatch.setattr(prerequisites, "MEMINFO", meminfo(apt, 1 << 20, 0))
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 0)
    monkeypatch.setattr(prerequisites, "missing", once(prerequisites.missing, apt / "installed"))
    monkeypatch.setattr(depot, "packages_needed", once(lambda: ["gcc", "its-package"], apt / "installed"))

    def fetch(progress: Progress) -> None:
        raise LookupError("as far as the depot")

    monkeypatch.setattr(depot, "fetch", fetch)
    notes = Notes()
    with pytest.raises(LookupError, match="as far as the depot"):
        kind("few").up(notes)
    wanted = " ".join(sorted([*besides, "gcc", "its-package"]))
    assert [line.split("--no-install-recommends ")[1] for line in (apt / "calls").read_text().splitlines()] == [
        "update", f"install {wanted}",
    ]  # fmt: skip
    assert notes.lines == [f"installing on this computer with apt: {wanted}"]


def meminfo(folder: Path, free_mib: int, swap_mib: int) -> Path:
    file = folder / "meminfo"
    file.write_text(f"MemTotal: 9 kB\nMemAvailable: {free_mib << 10} kB\nSwapFree: {swap_mib << 10} kB\nHugePages_Total: 0\n")
    return file


@pytest.mark.parametrize(("free", "swap", "enough"), [(4096, 0, True), (4000, 96, True), (4000, 95, False)])
def test_memory_for_a_virtual_machine(
    free: int, swap: int, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prerequisites, "MEMINFO", meminfo(tmp_path, free, swap))
    if enough:
        prerequisites.require_memory(4096)
        return
    with pytest.raises(HoldfastError, match="takes 4096 MiB of memory, and 4095 MiB are free") as told:
        prerequisites.require_memory(4096)
    assert told.value.allowed and told.value.fix


@pytest.mark.parametrize("kind", [Lab, VmLab])
def test_this_computer_is_looked_at_once(kind: type[Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(prerequisites, "MEMINFO", meminfo(tmp_path, 1 << 20, 0))
    asked: list[bool] = []
    monkeypatch.setattr(prerequisites, "ensure", lambda progress, vm=False: asked.append(vm))

    def fetch(progress: Progress) -> None:
        raise LookupError("as far as the depot")

    monkeypatch.setattr(depot, "fetch", fetch)
    with pytest.raises(LookupError):
        kind("few").up()
    assert asked == [kind is VmLab]


def once(lacking: Callable[..., list[str]], installed: Path) -> Callable[..., list[str]]:
    """``lacking``, until ``installed`` is there."""
    return lambda *words: [] if installed.exists() else lacking(*words)


def test_an_ordinary_user_is_told_to_use_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites.os, "geteuid", lambda: 1000)
    with pytest.raises(HoldfastError, match="root") as error:
        prerequisites.ensure()
    assert "sudo" in error.value.fix
