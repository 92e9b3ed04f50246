"""The CI job that docs/ci.md shows: YAML as the runner reads it, commands that exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.apply.result import Result
from holdfast.cli import summary
from holdfast.cli.main import build
from holdfast.paths import ROOT
from holdfast.settings.loader import resolve, site

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


@pytest.mark.parametrize(("changes", "status"), [(0, 0), (1, 1)])
def test_the_job_is_red_where_the_second_up_changes_something(changes: int, status: int, tmp_path: Path) -> None:
    """Its own line, run on what `up --json` writes."""
    ws = resolve(site("box", {"profile": "cpu", "login_user": "ada"}, "hosts.yml"))
    found = summary.data(ws, None, Result(changed=["x"] * changes), {"instances": {}, "tailnet": {}}, None, {})
    (tmp_path / "again.json").write_text(json.dumps(found))
    (line,) = re.findall(r"^ +(python3 -c .*)$", DOCUMENT.read_text("utf-8"), re.M)
    assert subprocess.run(line, shell=True, cwd=tmp_path, stderr=subprocess.DEVNULL, check=False).returncode == status
