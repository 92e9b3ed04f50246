"""The rungs of `./holdfast test`: what each runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

# The rungs that build a machine, which needs root: the lab that each calls its own.
LABS = {"down": "cut", "lab": "test", "driver": "driver", "vm": "vm"}
# The lane of its own: a whole workstation, whose tests wait most and mind the time most. With a third lane, for the virtual
# machine (one processor all the time, in software), two processors were no sooner done, and the workstation slower by a third.
LONG = ("lab",)


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: commands, one after the other."""

    name: str
    meaning: str
    commands: list[list[str]]


def rungs(extra: list[str]) -> list[Rung]:
    """The ladder, cheapest first."""
    python = sys.executable
    # What fails says so at once: some rungs are minutes long.
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "holdfast.cli.test_report", "--durations=5", "--no-header"]
    # Where no test waits for another's machine, on all processors at once.
    spread = [*pytest, "-q", "-n", "auto"]
    return [
        Rung("style", "ruff and mypy", [[python, "-m", "ruff", "check", "."], [python, "-m", "mypy"]]),
        Rung("unit", "pure", [[*spread, "tests/unit", *extra]]),
        Rung("fake", "the whole deploy on a simulated machine", [[*spread, "tests/fake", *extra]]),
        Rung("lease", "real Ollama servers share what stands for a GPU", [[*pytest, "tests/lease", *extra]]),
        Rung("down", "a throw-away machine leaves nothing behind", [[*pytest, "tests/down", *extra]]),
        Rung("lab", "a real throw-away machine", [[*pytest, "tests/lab", *extra]]),
        Rung("driver", "Debian 13's real driver packages", [[*pytest, "tests/driver", *extra]]),
        # Its machine is the driver's, as a virtual one.
        Rung("vm", "a kernel of its own, in qemu", [[*pytest, "tests/vm", *extra]]),
    ]
