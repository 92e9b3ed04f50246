"""The shell lines: sh takes each of them, and the exchange of modules does what it says on files that look like modules."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from holdfast.components.nvidia import commands, operations
from holdfast.components.nvidia.machine import Failure
from holdfast.components.nvidia.packages import Choice
from holdfast.components.nvidia.power import _DEFAULTS, differing_limits, unsettable
from holdfast.components.nvidia.steps import Build, Image, Install, Load, Reload, Repair, Resume, Step

CHOICE = Choice(580, True, True, "", ("a",))
STEPS: list[Step] = [
    Repair("w"),
    Repair(
        "w", ("linux-image-6.1+x", "nvidia-kernel-dkms"), Failure("nvidia", "1", "k", "l", "/var/lib/dkms/x/make.log")
    ),
    Install("w", CHOICE, ("new-package",), ("old-package",)),
    Build("w", "6.1.0+deb-amd64"),
    Image("w", "6.1.0"),
    Load("w"),
    Reload("w", ("ollama@coder.service",)),
    Resume("w", ("ollama@coder.service",)),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda s: type(s).__name__)
def test_sh_takes_it(step: Step) -> None:
    line = commands.line(step)
    done = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["sh", "-n", "-c", line + "; if"], capture_output=True).returncode != 0


def test_the_defaults_line_is_shell() -> None:
    assert subprocess.run(["sh", "-n", "-c", _DEFAULTS]).returncode == 0


def test_what_apt_is_told() -> None:
    line = commands.line(Install("w", CHOICE, ("new-package",), ("old-package",)))
    assert "install new-package old-package-" in line and "DEBIAN_FRONTEND=noninteractive" in line
    assert line.index(" update") < line.index(" install ")
    repair = commands.line(STEPS[1])
    assert repair.startswith("cp /var/lib/dkms/x/make.log /var/log/holdfast-nvidia-1-k.log")
    assert repair.index(" purge ") < repair.index("--configure -a")
    assert operations._announced(STEPS[2]).endswith("new-package, in place of old-package (w)")


def machine(tmp_path: Path, **modules: tuple[int, list[str]]) -> Path:
    """/sys/module and programs that act on it and tell: name -> (users, modules above it)."""
    sys = tmp_path / "sys"
    for name, (users, above) in modules.items():
        (sys / name / "holders").mkdir(parents=True)
        (sys / name / "refcnt").write_text(f"{users}\n")
        for other in above:
            (sys / name / "holders" / other).touch()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    told = tmp_path / "told"
    active = "ollama@reasoner.service loaded active"
    programs = {
        "systemctl": f'echo "systemctl $*" >> {told}; case "$*" in list-units*) echo "{active}";; esac',
        "rmmod": f'echo "rmmod $*" >> {told}; rm -r {sys}/$1; for f in {sys}/*/holders/$1; do rm -f "$f"; done',
        "modprobe": f'echo "modprobe $*" >> {told}; mkdir -p {sys}/nvidia',
        "nvidia-modprobe": "exit 1",
    }
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    return told


def run(tmp_path: Path, step: Step) -> subprocess.CompletedProcess[str]:
    line = (
        commands.line(step)
        .replace("/sys/module", str(tmp_path / "sys"))
        .replace("/run/holdfast", str(tmp_path / "run"))
    )
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=env)


FREE = {
    "nvidia": (2, ["nvidia_uvm", "nvidia_modeset"]),
    "nvidia_uvm": (0, []),
    "nvidia_modeset": (1, ["nvidia_drm"]),
    "nvidia_drm": (0, []),
}


def test_modules_are_exchanged_between_stop_and_start(tmp_path: Path) -> None:
    told = machine(tmp_path, **FREE)
    done = run(tmp_path, Reload("w", ("ollama@coder.service",)))
    assert done.returncode == 0, done.stderr
    lines = told.read_text().splitlines()
    assert lines[1:] == [
        "systemctl stop ollama@coder.service ollama@reasoner.service",
        "rmmod nvidia_uvm", "rmmod nvidia_drm", "rmmod nvidia_modeset", "rmmod nvidia", "modprobe nvidia-uvm",
        "systemctl reset-failed ollama@coder.service ollama@reasoner.service",
        "systemctl start ollama@coder.service ollama@reasoner.service",
    ]  # fmt: skip
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("used", ["nvidia", "nvidia_drm", "nvidia_uvm"])
def test_with_a_user_left_nothing_is_unloaded_and_all_is_started_again(used: str, tmp_path: Path) -> None:
    users, above = FREE[used]
    told = machine(tmp_path, **{**FREE, used: (users + 1, above)})
    done = run(tmp_path, Reload("w"))
    assert done.returncode != 0 and f"{used} is in use" in done.stderr
    assert not any(line.startswith(("rmmod", "modprobe")) for line in told.read_text().splitlines())
    assert "systemctl start ollama@reasoner.service" in told.read_text()


def test_what_a_cut_has_left_stopped_is_started(tmp_path: Path) -> None:
    told = machine(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/nvidia-stopped").write_text("ollama@coder.service\n")
    assert run(tmp_path, Resume("w", ())).returncode == 0
    assert "systemctl start ollama@coder.service" in told.read_text() and not (tmp_path / "run/nvidia-stopped").exists()
    told.write_text("")
    assert run(tmp_path, Resume("w", ())).returncode == 0 and told.read_text() == ""


def test_power_limits_that_can_be_set_and_those_that_cannot() -> None:
    found = {
        "problem": "",
        "cards": {"0000:01:00.0": [350.0, 100.0, 366.0, 350.0], "0000:02:00.0": [None, None, None, None]},
    }
    assert unsettable({"0000:01:00.0": 280}, found) is None
    assert differing_limits({"0000:01:00.0": 280}, found) == ["0000:01:00.0"]
    assert differing_limits({"0000:01:00.0": 350}, found) == []
    for at, watts, words in (
        ("0000:01:00.0", 400, "100 to 366 W"),
        ("0000:02:00.0", 280, ""),
        ("0000:09:00.0", 280, ""),
    ):
        problem = unsettable({at: watts}, found)
        assert problem and at in problem.message and words in problem.allowed
    assert unsettable({}, {"problem": "No devices were found", "cards": {}})


@pytest.mark.parametrize("tool", ["update-initramfs", "dracut"])
def test_the_initrd_is_made_by_what_the_machine_has(tmp_path: Path, tool: str) -> None:
    """Ubuntu 26.04 may have dracut in initramfs-tools' place."""
    (tmp_path / tool).write_text(f'#!/bin/sh\necho "$0 $*" > {tmp_path}/said\n')
    (tmp_path / tool).chmod(0o755)
    for name in ("sh", "grep", "head", "tail"):
        os.symlink(f"/bin/{name}", tmp_path / name)
    subprocess.run(["/bin/sh", "-c", commands.line(Image("w", "6.99.0-none"))], env={"PATH": str(tmp_path)}, check=True)
    words = "-c -k 6.99.0-none" if tool == "update-initramfs" else "--force /boot/initrd.img-6.99.0-none 6.99.0-none"
    assert (tmp_path / "said").read_text() == f"{tmp_path}/{tool} {words}\n"
