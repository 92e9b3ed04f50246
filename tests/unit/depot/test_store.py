from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable

import pytest

from holdfast import depot
from holdfast.cli import depot as verb
from holdfast.depot import builders, record
from holdfast.depot.lock import load as load_pins
from holdfast.errors import HoldfastError
from holdfast.lab import prerequisites
from holdfast.progress import QUIET, Quiet


class Notes(Quiet):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_release_is_taken_when_known_and_reachable(lab, vendor) -> None:
    lab.pin(len(vendor.body), vendor.sha)
    a = depot.fetch(["tool"])["tool"]
    assert (a.origin, a.sha256, lab.builds) == ("release", vendor.sha, [])
    assert depot.path("tool").read_bytes() == vendor.body
    assert a.url == depot.path("tool").as_uri()


def test_release_that_differs_stops_and_nothing_is_built_instead(lab, vendor) -> None:
    lab.pin(len(vendor.body), "f" * 64)
    with pytest.raises(HoldfastError, match="expected sha256"):
        depot.fetch(["tool"])
    assert lab.builds == [] and depot.recorded() == {}
    assert not [p for p in lab.cache.rglob("*") if p.is_file()]


def test_unverified_release_is_built_and_the_reason_told(lab) -> None:
    progress = Notes()
    assert depot.fetch(["tool"], progress)["tool"].origin == "built here"
    assert any("unverified" in n and "depot update tool" in n for n in progress.notes)


def test_unreachable_release_is_built(lab) -> None:
    lab.url = "http://127.0.0.1:1"
    lab.pin(7, "ab" * 32)
    progress = Notes()
    assert depot.fetch(["tool"], progress)["tool"].origin == "built here"
    assert any("127.0.0.1:1 cannot be reached" in n for n in progress.notes)


def test_build_can_be_forbidden(lab) -> None:
    with pytest.raises(HoldfastError, match="unverified"):
        depot.fetch(["tool"], build=False)
    assert lab.builds == []


def test_nothing_is_made_twice(lab) -> None:
    assert set(depot.fetch()) == {"tool", "other"}
    assert depot.fetch() == depot.fetch()
    assert sorted(lab.builds) == ["other", "tool"]


def _go_sum(lab) -> None:
    (lab.locks / "go" / "tool" / "go.sum").write_text("b h1:=\n")


def _version(lab) -> None:
    lab.lock.write_text(lab.lock.read_text().replace('"1.2"', '"1.3"', 1))


def _delete(lab) -> None:
    depot.path("tool").unlink()


def _damage(lab) -> None:
    depot.path("tool").write_bytes(b"built bytez")


def _record(lab) -> None:
    record.record_file().write_text("{ not json")


@pytest.mark.parametrize("change", [_go_sum, _version, _delete, _damage, _record])
def test_a_change_makes_it_again(lab, change) -> None:
    depot.fetch(["tool"])
    change(lab)
    depot.fetch(["tool"])
    assert lab.builds == ["tool", "tool"]
    assert depot.path("tool").read_bytes() == lab.makes
    depot.fetch(["tool"])
    assert lab.builds == ["tool", "tool"]


def test_a_new_recipe_makes_it_again(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    depot.fetch(["tool"])
    monkeypatch.setattr(builders, "RECIPE", builders.RECIPE + 1)
    depot.fetch(["tool"])
    assert len(lab.builds) == 2


def test_a_change_of_the_go_module_leaves_a_release(lab, vendor) -> None:
    lab.pin(len(vendor.body), vendor.sha)
    depot.fetch(["tool"])
    _go_sum(lab)
    depot.fetch(["tool"])
    assert vendor.asked.count("GET") == 1


def test_parts_that_came_by_signature_are_recorded(lab) -> None:
    lab.parts = {"llama.cpp-tools": "1:0.7.0+dfsg-2"}
    depot.fetch(["tool"])
    assert depot.recorded()["tool"].parts == lab.parts
    depot.fetch(["tool"])
    assert lab.builds == ["tool"]


def test_failed_build_leaves_the_old_one_and_no_litter(lab) -> None:
    depot.fetch(["tool"])
    before = record.record_file().read_text()
    _go_sum(lab)
    lab.makes = b""
    with pytest.raises(RuntimeError):
        depot.fetch(["tool"])
    assert record.record_file().read_text() == before
    assert depot.path("tool").read_bytes() == b"built bytes"
    assert not (lab.cache / "depot-work").exists()


def test_work_of_a_killed_run_is_cleared(lab) -> None:
    (lab.cache / "depot-work" / "tool").mkdir(parents=True)
    (lab.cache / "depot-work" / "tool" / "half").write_text("x")
    depot.fetch(["tool"])
    assert not (lab.cache / "depot-work").exists()


def test_second_fetch_waits_for_the_first(lab) -> None:
    record.root().mkdir(parents=True)
    fd = os.open(record.root(), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waits, done = threading.Event(), threading.Event()

    class Tell(Quiet):
        def note(self, text: str) -> None:
            if "waiting" in text:
                waits.set()

    def second() -> None:
        depot.fetch(["tool"], Tell())
        done.set()

    thread = threading.Thread(target=second)
    thread.start()
    try:
        assert waits.wait(5) and not done.is_set() and lab.builds == []
    finally:
        os.close(fd)
        thread.join(5)
    assert done.is_set() and lab.builds == ["tool"]


def test_verify_rereads_even_what_looks_untouched(lab) -> None:
    depot.fetch(["tool"])
    assert depot.verify(["tool"]) == {"tool": ""}
    file, times = depot.path("tool"), depot.path("tool").stat()
    with file.open("r+b") as f:
        f.write(b"B")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    depot.fetch(["tool"])
    assert lab.builds == ["tool"], "same inode, size and time: fetch does not read it again"
    assert depot.recorded()["tool"].sha256 in depot.verify(["tool"])["tool"]
    assert depot.verify(["other"]) == {"other": "not in the depot"}


LACKING = ["file-package", "its-package"]


@pytest.fixture
def lacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, this computer has not what the builder of `tool` needs."""
    programs = {"no-such-program": "its-package", "/no/such/file": "file-package", "sh": "dash", "/proc/self/stat": "kernel"}
    return lambda: monkeypatch.setitem(builders.PROGRAMS, "tool", programs)


def test_packages_needed_only_for_what_is_due(lab, lacks) -> None:
    lacks()
    assert depot.packages_needed() == LACKING
    assert depot.packages_needed(["other"]) == []
    assert depot.packages_needed(build=False) == []


def test_packages_needed_again_for_what_was_damaged(lab, lacks) -> None:
    depot.fetch()
    lacks()
    assert depot.packages_needed() == []
    _damage(lab)
    assert depot.packages_needed() == LACKING


def test_a_release_needs_no_builder(lab, vendor, lacks) -> None:
    lacks()
    lab.pin(len(vendor.body), vendor.sha)
    assert depot.packages_needed() == []
    assert depot.fetch(["tool"])["tool"].origin == "release"


@pytest.mark.parametrize("built", [True, False])
def test_what_a_package_or_an_archive_needs_is_known_by_its_shape(built: bool) -> None:
    pins = load_pins()
    compiler = {"gcc", "g++"}
    ollama = builders.programs(pins["ollama"], built=built)
    assert "zstd" in ollama and (compiler <= ollama.keys()) == built
    assert {"dpkg-deb", "apt-ftparchive", "gpg"} <= builders.programs(pins["tailscale"], built=built).keys()
    assert builders.programs(pins["headscale"], built=built) == {}


def test_without_the_builders_programs_nothing_begins_and_the_packages_are_named(lab, lacks) -> None:
    lacks()
    with pytest.raises(HoldfastError, match="its-package") as told:
        depot.fetch(["other", "tool"])
    assert told.value.fix == f"sudo apt-get install {' '.join(LACKING)}"
    assert lab.builds == []


@pytest.mark.parametrize("user", [0, 1000])
def test_the_verb_installs_as_root_what_is_missing(lab, lacks, user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parser, said = argparse.ArgumentParser(), Notes()
    verb.arguments(parser)
    lacks()
    asked: list[list[str]] = []

    def apt(words: list[str], progress: object) -> None:
        asked.append(words)
        if words[0] == "install":
            monkeypatch.setitem(builders.PROGRAMS, "tool", {})

    monkeypatch.setattr(prerequisites, "apt", apt)
    monkeypatch.setattr(verb.os, "geteuid", lambda: user)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **words: "apt-get" if name == "apt-get" else which(name, **words))
    if user:
        with pytest.raises(HoldfastError, match="its-package"):
            verb.run(parser.parse_args(["fetch"]), said)
        assert asked == [] and lab.builds == []
        return
    verb.run(parser.parse_args(["fetch", "other"]), said)
    assert asked == [], "nothing is missing for that one"
    verb.run(parser.parse_args(["fetch"]), said)
    assert asked == [["update"], ["install", *LACKING]]
    assert any("with apt: file-package its-package" in note for note in said.notes)
    assert lab.builds == ["other", "tool"]


def test_the_verb(lab, vendor) -> None:
    parser = argparse.ArgumentParser()
    verb.arguments(parser)

    def do(*argv: str) -> verb.Outcome:
        return verb.run(parser.parse_args(argv), QUIET)

    assert do("verify", "tool").code == 1
    assert do("fetch", "tool").data["artifacts"][0]["origin"] == "built here"
    assert do("verify", "tool").code == 0
    assert any(line.startswith("tool 1.2 (MIT): 1.2, built here") for line in do("list").lines)
    assert do("update", "tool").data["updated"][0]["sha256"] == vendor.sha
    assert do("fetch", "--no-build", "tool").data["artifacts"][0]["origin"] == "release"
    depot.path("tool").unlink()
    damaged = do("verify")
    assert damaged.code == 1 and damaged.lines[-1].startswith("Fix: ./holdfast depot fetch")
    json.dumps([do(v).data for v in ("list", "verify")])
