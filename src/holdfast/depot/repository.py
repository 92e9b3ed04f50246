"""A signed apt repository around packages, so that a workstation takes them as it takes the vendor's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from holdfast import paths, proc

IDENTITY = "Holdfast depot on this computer <depot@holdfast.invalid>"


def key_home() -> Path:
    """GnuPG's folder with the private key of this computer's repositories: in the cache, 0700, never in the depot."""
    return paths.cache_dir() / "depot-key"


def put(debs: Sequence[Path], target: Path, suites: tuple[str, ...], work: Path, log: Path) -> None:
    """A repository of ``debs`` in the folder ``target``, in place of the one that was there; ``work``: a folder of the same file
    system, where it is made and where the old one goes."""
    fresh = work / "repository"
    make(debs, fresh, suites, log)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(work / "old")
    fresh.rename(target)


def make(debs: Sequence[Path], to: Path, suites: tuple[str, ...], log: Path) -> None:
    """Build pool/, dists/SUITE/ (InRelease signed) and keyring.gpg in the folder ``to``. One key serves all builds."""
    (to / "pool").mkdir(parents=True)
    for deb in debs:
        shutil.copyfile(deb, to / "pool" / deb.name)
    _home()
    # By a short name: GnuPG's agent listens in its home, and a socket's path has 107 bytes at most (unix(7)).
    with tempfile.TemporaryDirectory(prefix="hf-") as short:
        home = Path(short) / "k"
        home.symlink_to(key_home())
        gpg = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--quiet"]
        try:
            _key(gpg, log)
            exported = [*gpg, "--yes", "--output", str(to / "keyring.gpg"), "--export", IDENTITY]
            proc.run(exported, log=log)
            for suite in suites:
                _suite(to, suite, gpg, log)
        finally:  # GnuPG starts an agent for every home folder and leaves it behind
            proc.run(["gpgconf", "--homedir", home, "--kill", "all"], log=log, check=False)
    for path in [to, *to.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # apt reads a file: depot as its own user


def _home() -> None:
    key_home().mkdir(parents=True, exist_ok=True, mode=0o700)
    key_home().chmod(0o700)


def _key(gpg: list[str], log: Path) -> None:
    if proc.run([*gpg, "--list-secret-keys", IDENTITY], check=False).returncode:
        make = [
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            "--quick-generate-key",
            IDENTITY,
            "rsa3072",
            "sign",
            "never",
        ]
        proc.run([*gpg, *make], log=log, fix="apt install gnupg")


def _suite(to: Path, suite: str, gpg: list[str], log: Path) -> None:
    dist = to / "dists" / suite
    packages = dist / "main" / "binary-amd64" / "Packages"
    packages.parent.mkdir(parents=True)
    packages.write_text(proc.run(["apt-ftparchive", "packages", "pool"], cwd=to, fix="apt install apt-utils").stdout)
    fields = {
        "Origin": "Holdfast depot",
        "Label": "Holdfast depot",
        "Suite": suite,
        "Codename": suite,
        "Architectures": "amd64",
        "Components": "main",
    }
    options = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in fields.items()]
    release = proc.run(["apt-ftparchive", *options, "release", dist]).stdout
    (dist / "Release").write_text(release)
    sign = [*gpg, "--yes", "--digest-algo", "SHA512", "--local-user", IDENTITY]
    proc.run([*sign, "--output", dist / "InRelease", "--clearsign", dist / "Release"], log=log)
    proc.run([*sign, "--armor", "--output", dist / "Release.gpg", "--detach-sign", dist / "Release"], log=log)
