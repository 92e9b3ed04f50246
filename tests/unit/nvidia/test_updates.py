"""Updates of driver and kernel that wait, with their age."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from tests.unit.nvidia.trees import Files, dpkg, package, tree

from holdfast.components.nvidia.files import settings
from holdfast.components.nvidia.updates import read_updates, told
from holdfast.operations.place import Absent, File

DAY = 86400
POLICY = """\
#!/bin/sh
echo "$@" >> {log}
cat <<'EOF'
libcuda1:
  Installed: 550.163.01-2
  Candidate: 550.163.01-2
  Version table:
linux-image-amd64:
  Installed: 6.12.107-1
  Candidate: 6.12.117-1
nvidia-kernel-dkms:amd64:
  Installed: 550.163.01-2
  Candidate: 550.200-1
linux-headers-amd64:
  Installed: 6.12.107-1
  Candidate: (none)
EOF
"""


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-cache that answers as apt's does; what it was asked stands in the file."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/apt-cache"
    program.write_text(POLICY.format(log=tmp_path / "asked"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "asked"


def stanzas() -> Files:
    return dpkg(
        package("nvidia-kernel-dkms", "550.163.01-2", "hold ok installed"), package("libcuda1", "550.163.01-2"),
        package("linux-image-amd64", "6.12.107-1"), package("linux-headers-amd64", "6.12.107-1"), package("bash"),
        package("linux-image-6.12.107+deb13-amd64"), package("nvidia-smi", status="deinstall ok config-files"),
    )  # fmt: skip


def test_what_waits_and_for_how_long(tmp_path: Path, policy: Path) -> None:
    root = tree(tmp_path / "root", {
        **stanzas(), "var/lib/dpkg/info/nvidia-kernel-dkms.list": "", "var/lib/apt/lists/x_InRelease": "",
    })  # fmt: skip
    now = time.time()
    os.utime(root / "var/lib/dpkg/info/nvidia-kernel-dkms.list", (now - 42 * DAY,) * 2)
    os.utime(root / "var/lib/apt/lists/x_InRelease", (now - 20 * DAY,) * 2)
    found = read_updates(str(root))
    assert found["waiting"] == [
        {"name": "linux-image-amd64", "installed": "6.12.107-1", "candidate": "6.12.117-1", "held": False, "days": None},
        {"name": "nvidia-kernel-dkms", "installed": "550.163.01-2", "candidate": "550.200-1", "held": True, "days": 42.0},
    ]
    asked = policy.read_text().split(" policy ")[1].split()
    assert asked == ["libcuda1", "linux-headers-amd64", "linux-image-amd64", "nvidia-kernel-dkms"]
    assert told(found) == [
        "linux-image-amd64 6.12.107-1: 6.12.117-1 waits",
        "nvidia-kernel-dkms 550.163.01-2, installed 42 days ago: 550.200-1 on hold",
        "to take them: sudo apt-mark unhold nvidia-kernel-dkms; "
        "sudo apt update && sudo apt full-upgrade, then ./holdfast up HOST",
        "apt's lists are 20 days old: newer drivers and kernels are not known of",
    ]


def test_a_machine_without_a_driver_asks_nothing(tmp_path: Path, policy: Path) -> None:
    found = read_updates(str(tree(tmp_path / "root", {**dpkg(package("bash")), "var/lib/apt/lists/x_InRelease": ""})))
    assert found == {"waiting": [], "lists_days": 0.0} and told(found) == [] and not policy.exists()
    assert read_updates(str(tmp_path / "nothing")) == {"waiting": [], "lists_days": None} and told(None) == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("nvidia-utils-580-server", True), ("libnvidia-compute-580-server", True), ("libcuda1", True),
        ("linux-modules-nvidia-580-server-open-generic", True), ("linux-generic-hwe-24.04", True),
        ("linux-image-generic", True), ("linux-image-virtual", True), ("linux-headers-lowlatency", True),
        ("linux-oem-24.04c", True), ("linux-image-oem-24.04c", True), ("linux-aws", True),
        # Debian's kernels get their modules from DKMS.
        ("linux-image-amd64", False), ("linux-libc-dev", False), ("openssl", False), ("linux-firmware", False),
    ],
)  # fmt: skip
def test_what_unattended_upgrades_leaves_alone(tmp_path: Path, name: str, kept: bool) -> None:
    """As it reads them: apt parses the file, and each word is matched from the start of a name."""
    entry = next(e for e in settings("managed") if e.path.endswith("52holdfast-nvidia"))
    assert isinstance(entry, File)
    file = tmp_path / "apt.conf"
    file.write_bytes(entry.data)
    said = subprocess.run(["apt-config", "-c", file, "dump"], capture_output=True, text=True, check=True).stdout
    words = re.findall(r'^Unattended-Upgrade::Package-Blacklist:: "(.*)";', said, re.M)
    assert len(words) > 7 and any(re.match(word, name) for word in words) is kept
    assert [e.path for e in settings("leave") if isinstance(e, Absent)] == [entry.path]
