"""apt as it is met in real life: somebody else holds its lock, or the last one was interrupted in the middle.

The packages are made here and served from a folder of the machine, so that nothing is downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

REPOSITORY, SOURCE = "/var/tmp/holdfast-test-repository", "/etc/apt/sources.list.d/holdfast-test.list"
WANTED, BROKEN = "holdfast-test-wanted", "holdfast-test-broken"
# A package whose configuration fails while this file is there: what a power cut in the middle of dpkg leaves.
CUT = "/run/holdfast-test-cut"
MAKE = f"""
set -eu
mkdir -p {REPOSITORY}; cd {REPOSITORY}
for name in {WANTED} {BROKEN}; do
    mkdir -p $name/DEBIAN $name/usr/share/$name; echo here > $name/usr/share/$name/file
    printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: test <test@localhost>\\nDescription: test\\n' $name \\
        > $name/DEBIAN/control
    [ $name = {WANTED} ] || {{ printf '#!/bin/sh\\n! [ -e {CUT} ]\\n' > $name/DEBIAN/postinst; chmod 755 $name/DEBIAN/postinst; }}
    dpkg-deb --root-owner-group -b $name $name.deb >/dev/null
    {{ cat $name/DEBIAN/control; echo "Filename: ./$name.deb"; echo "Size: $(stat -c %s $name.deb)"
       echo "SHA256: $(sha256sum $name.deb | cut -d' ' -f1)"; echo; }} >> Packages
done
chown -R _apt {REPOSITORY} 2>/dev/null || true
echo 'deb [trusted=yes] file:{REPOSITORY} ./' > {SOURCE}
apt-get -q update -o Dir::Etc::sourcelist={SOURCE} -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 >&2
"""
REMOVE = f"""
rm -f {CUT} /var/lib/dpkg/updates/0000
dpkg --purge --force-all {WANTED} {BROKEN} >&2
rm -rf {REPOSITORY} {SOURCE} /var/lib/apt/lists/*holdfast-test-repository*
"""
# Holds apt's lock as apt does (fcntl, not flock), says so, and lets it go at the end of its stdin.
HOLD = (
    "import fcntl,sys; f=open('/var/lib/dpkg/lock-frontend','r+b'); fcntl.lockf(f,fcntl.LOCK_EX);"
    "print('held',flush=True); sys.stdin.read()"
)


def status_of(machine: Any, package: str) -> str:
    """'ii' installed, 'iF' half configured, '' unknown."""
    done = machine.ssh(["dpkg-query", "-W", "-f", "'${db:Status-Abbrev}'", package])
    return str(done.stdout.strip() if done.returncode == 0 else "")


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    workstation.root(REMOVE)
    workstation.root(MAKE)
    yield workstation
    workstation.root(REMOVE)
    workstation.settled = True  # packages that are no longer asked for are nobody's, and gone


def test_a_held_lock_is_waited_for(machine: Any) -> None:
    holder = machine.open(["sudo", "python3", "-I", "-c", f'"{HOLD}"'])
    waits: list[dict[str, Any]] = []
    let_go = threading.Event()

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "waiting" and "apt" in event["what"]:
            waits.append(event)
            if not let_go.is_set():
                let_go.set()
                holder.stdin.close()

    try:
        assert holder.stdout.readline() == "held\n"
        assert status_of(machine, WANTED) == ""
        changed = machine.apply({"base.packages": [WANTED]}, heard).changed
    finally:
        holder.stdin.close()
        holder.wait(20)
    assert changed == ["Base | Install base packages"]
    assert waits and "held by python3 (pid " in waits[0]["what"], waits
    assert status_of(machine, WANTED) == "ii"


def test_an_interrupted_dpkg_is_repaired(machine: Any) -> None:
    cut = machine.ssh(["sudo", "sh", "-s"], input=f"touch {CUT}; dpkg -i {REPOSITORY}/{BROKEN}.deb; rm {CUT}")
    assert "post-installation" in cut.stderr and status_of(machine, BROKEN) == "iF"
    # What dpkg had written when the power went; it makes apt refuse everything.
    machine.root(f"dpkg-query -s {BROKEN} > /var/lib/dpkg/updates/0000")
    refused = machine.ssh(["sudo", "apt-get", "-y", "install", BROKEN])
    assert refused.returncode == 100 and "dpkg was interrupted" in refused.stderr
    heard: list[str] = []
    changed = machine.apply({"base.packages": [BROKEN]}, lambda event: heard.append(event["event"])).changed
    assert changed == ["Base | Install base packages"]
    assert status_of(machine, BROKEN) == "ii"
    # The control of the wait above: with nobody in the way there is none.
    assert "operation_end" in heard and "waiting" not in heard
