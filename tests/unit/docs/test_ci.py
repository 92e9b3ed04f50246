"""The CI job that docs/ci.md shows: YAML as the runner reads it, commands that exist."""

from __future__ import annotations

import re
import shlex
from typing import Any

import yaml

from holdfast.cli.main import build
from holdfast.paths import ROOT

DOCUMENT = ROOT / "docs" / "ci.md"


def job() -> dict[str, Any]:
    (block,) = re.findall(r"^```yaml \S+\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.M | re.S)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def test_every_command_of_the_job_is_one_of_ours() -> None:
    (steps,) = [one["steps"] for one in job()["jobs"].values()]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    ours = [shlex.split(line.partition(">")[0]) for line in lines if "./holdfast" in line]
    assert [words[:3] for words in ours] == [["sudo", "-H", "./holdfast"]] * 3
    for words in ours:
        build(None).parse_args(words[3:])
    assert steps[-1]["if"] == "always()" and steps[-1]["run"].endswith("down")


def test_the_program_in_it_is_python() -> None:
    (program,) = re.findall(r"python3 -c '(.*)'", DOCUMENT.read_text("utf-8"))
    compile(program, "docs/ci.md", "exec")
