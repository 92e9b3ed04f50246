"""The verb `down`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from holdfast.cli import hosts
from holdfast.cli.outcome import Outcome
from holdfast.cli.show import Shown
from holdfast.errors import HoldfastError

ABOUT = """\
Removes the throw-away machine with its networks, processes and keys, also one that was only half made. What can be used
again stays in the cache (programs, the Debian tree). hosts.yml is not read, and no other machine is touched.

  ./holdfast down
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT


def run(args: argparse.Namespace, progress: Shown) -> Outcome:
    from holdfast.lab import Lab, state
    from holdfast.lab.layout import Layout

    layout = Layout(hosts.LAB)
    there = state.load(hosts.LAB) is not None or layout.folder.exists()
    if not there and os.geteuid() != 0 and Path("/run/netns", layout.netns("workstation")).exists():
        raise HoldfastError(
            f"the throw-away machine {hosts.LAB} is another user's", where=f"/run/netns/{layout.netns('workstation')}",
            allowed="its maker removes it", fix="sudo ./holdfast down",
        )  # fmt: skip
    Lab(hosts.LAB).down(progress)
    line = "the throw-away machine is gone" if there else "there was no throw-away machine"
    return Outcome({"removed": there, "seconds": progress.seconds}, [line])
