"""FAKE: a driver that is loaded, on a machine whose kernel is another computer's; laid over /sys, /proc and two programs.

The files say what they say on a machine with the module; there is none. `nvidia-smi` is fake/nvidia_smi.py, and
nvidia-persistenced, whose real one ends without a device, is a sleep.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.driver.machine import DriverMachine

HERE = Path(__file__).parent
FOLDER = "/opt/FAKE"
_OVER = {
    f"{FOLDER}/module": "/sys/module",
    f"{FOLDER}/proc": "/proc/driver",
    f"{FOLDER}/nvidia-smi": "/usr/lib/nvidia/current/nvidia-smi",
    f"{FOLDER}/nvidia-persistenced": "/usr/bin/nvidia-persistenced",
}
_MAKE = """
set -e
mkdir -p {folder}/module/nvidia {folder}/module/nvidia_uvm {folder}/module/nvidia_drm {folder}/proc/nvidia
echo {version} > {folder}/module/nvidia/version
echo 0 | tee {folder}/module/nvidia/refcnt {folder}/module/nvidia_uvm/refcnt > {folder}/module/nvidia_drm/refcnt
echo 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  FAKE' > {folder}/proc/nvidia/version
printf '#!/bin/sh\\n# FAKE\\nsleep infinity &\\n' > {folder}/nvidia-persistenced
chmod 755 {folder}/nvidia-smi {folder}/nvidia-persistenced
"""


@contextmanager
def loaded(machine: DriverMachine, version: str) -> Iterator[None]:
    """The machine looks as if module ``version`` were loaded, until the end of the block."""
    for name, source in (("nvidia-smi", "nvidia_smi.py"), ("recorded.json", "recorded.json")):
        put(machine, f"{FOLDER}/{name}", (HERE / source).read_text())
    machine.root(_MAKE.format(folder=FOLDER, version=version))
    machine.root("set -e\n" + "\n".join(f"mount --bind {source} {target}" for source, target in _OVER.items()))
    try:
        yield
    finally:
        machine.root(
            "systemctl stop nvidia-persistenced holdfast-nvidia-power 2>/dev/null\n"
            + "\n".join(f"umount -l {target}" for target in _OVER.values())
            + f"\nrm -rf {FOLDER} /run/FAKE-nvidia-smi.json; systemctl reset-failed; true"
        )


def put(machine: DriverMachine, path: str, text: str) -> None:
    done = machine.ssh(["sudo", "sh", "-c", f"'mkdir -p {FOLDER}; cat > {path}'"], input=text)
    assert done.returncode == 0, done.stderr
