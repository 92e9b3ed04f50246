"""A dpkg that a power cut has ended: what is read of it, and what the repair asks of dpkg and apt.

tests/driver does both with a real dpkg that is killed while it unpacks Debian's own packages.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import OWN, WORKS, there
from tests.unit.nvidia.trees import Files, V, dpkg, package, read

from holdfast.components.nvidia.classify import classify
from holdfast.components.nvidia.commands import line
from holdfast.components.nvidia.installing import to_install
from holdfast.components.nvidia.packages import Want
from holdfast.components.nvidia.steps import Repair

UPDATES = "var/lib/dpkg/updates"


def journal(*stanzas: str, padding: str = "#padding\n") -> Files:
    """As dpkg 1.22 leaves it: a file for each change, the list itself untouched, and one file of padding for more."""
    files: Files = {f"{UPDATES}/{n:04}": stanza for n, stanza in enumerate(stanzas)}
    return {**files, f"{UPDATES}/tmp.i": padding * 3}


@pytest.mark.parametrize("status", ["install reinstreq half-installed", "install reinstreq unpacked", "install ok installed"])
def test_what_dpkg_has_not_taken_into_its_list_counts(tmp_path: Path, status: str) -> None:
    """Its list calls the package installed all the while; also where the last change was its end, apt refuses everything."""
    cut = journal(package("nvidia-smi", V, "install reinstreq half-configured"), package("nvidia-smi", V, status))
    found = read(tmp_path, {**WORKS, **dpkg(*there(*OWN)), **cut})
    assert found.broken_packages == ("nvidia-smi",)
    assert found.packages["nvidia-smi"].state == {"half-installed": "iH", "unpacked": "iU", "installed": "ii"}[status.split()[2]]
    finding = classify(found, {}, 550)
    assert finding.state == "broken_packages" and "nvidia-smi" in finding.reason
    first = to_install(found, Want(), ())
    assert isinstance(first, Repair)
    last = to_install(found, Want(), (first,))
    for told in (finding, last):
        by_name = "sudo apt-get --reinstall install nvidia-smi" in told.fix  # type: ignore[union-attr]
        assert "sudo dpkg --configure -a" in told.fix and by_name == ("half-installed" in status)  # type: ignore[union-attr]


def test_a_dpkg_that_has_ended_well_leaves_nothing_to_repair(tmp_path: Path) -> None:
    found = read(tmp_path, {**WORKS, **dpkg(*there(*OWN)), **journal()})
    assert found.broken_packages == () and classify(found, {}, 550).state == "ready"


@pytest.mark.parametrize(
    ("configures", "half", "missing", "asked", "ends"),
    [
        (0, "ii libc6\\nhi nvidia-smi\\n", False, [], 0),
        (1, "iU nvidia-smi\\n", True, ["--fix-broken install"], 0),
        # Its own script has failed (a build of minutes): apt has nothing to fetch for it.
        (1, "iF nvidia-kernel-dkms\\n", False, [], 1),
        # dpkg passes over what was cut off while it was unpacked, and ends well.
        (
            0, "ii libc6\\niHRnvidia-smi\\niHRlibcuda1:amd64\\n", False,
            ["--fix-broken install", "--reinstall install nvidia-smi libcuda1:amd64"], 0,
        ),
        (1, "iFRnvidia-smi\\n", False, ["--fix-broken install", "--reinstall install nvidia-smi"], 0),
    ],
)  # fmt: skip
def test_the_repair(tmp_path: Path, configures: int, half: str, missing: bool, asked: list[str], ends: int) -> None:
    log = tmp_path / "log"
    checks = f'[ "${{@: -1}}" != check ] || exit {100 if missing else 0}'
    answers = {"dpkg": f"exit {configures}", "dpkg-query": f"printf '{half}'", "apt-get": checks}
    for name, answer in answers.items():
        (tmp_path / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {log}\n{answer}\n')
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["sh", "-c", line(Repair("cut off"))], env=env).returncode == ends
    lines = log.read_text().splitlines()
    assert lines[0].startswith("dpkg ") and lines[0].endswith("--configure -a")
    apt = [text for text in lines if text.startswith("apt-get") and not text.endswith(" check")]
    assert len(apt) == len(asked) and all(text.endswith(f"--no-remove {words}") for text, words in zip(apt, asked, strict=True))
