"""`./holdfast bench` on the throw-away machine: the same program as on cards, here on the processor with the small models."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from tests.conftest import SOAK
from tests.lab.holdfast_command import as_json, holdfast
from tests.waiting import until

ROLES = {"coder", "reasoner"}
TOKENS = 8000  # longer than `bench` takes to look


def leftovers(workstation: Any) -> str:
    """Servers that were started by hand: those of the units are in their cgroups."""
    script = "grep -lsz holdfast-bench- /proc/[0-9]*/environ | grep -v /self/ || true"
    return str(workstation.root(script)).strip()


def test_measures_compares_and_leaves_nothing(workstation: Any, tmp_path: Path) -> None:
    pids = workstation.pids()
    plot = tmp_path / "speed.svg"
    rounds = str(12 if SOAK else 3)
    done = holdfast("bench", workstation.name, "--json", "--compare", rounds, "--lengths", "128,256", "--out", str(plot))
    found = as_json(done)
    assert done.returncode == 0, f"{found}\n{done.stderr[-2000:]}"
    assert set(found["instances"]) == ROLES
    for role, one in found["instances"].items():
        # No card: it is said that nothing was judged, and why; everything is measured all the same.
        assert (one["state"], one["proofs"], one["fraction"]) == ("not judged", [], None), role
        assert "processor" in one["why"]
        assert [point["decode_tokens_per_second"]["count"] for point in one["points"]] == [5, 5]
        assert one["load_s"] > 0 and one["short_answers"] == 0, one
    ratios = {(cost["role"], cost["against"], cost["by"]): cost for cost in found["costs"]}
    assert {role for role, *_ in ratios} == ROLES and found["problems"] == []
    for (role, against, by), cost in ratios.items():
        print(
            f"{role} against {against}, {by}: {cost['ratio']} {cost['interval']}, others {cost['others']}: {cost['state']}"
        )
        assert cost["state"] != "red"
    assert ET.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    # Not a unit was restarted, and what was started by hand is gone.
    assert workstation.pids() == pids
    assert leftovers(workstation) == ""


def test_an_answer_in_the_making_is_not_disturbed(workstation: Any) -> None:
    instance = workstation.settings.instances["coder"]
    story = {"model": instance.model, "prompt": "A very long story, please.", "options": {"num_predict": TOKENS}}
    # Into a file there: a reader that does not read would bring the answer to a halt.
    where = "/tmp/holdfast-story"
    person = workstation.open(
        ["curl", "-sN", "-o", where, "-d", f"'{json.dumps(story)}'", f"http://127.0.0.1:{instance.port}/api/generate"]
    )
    try:
        until(lambda: workstation.ssh(f"test -s {where}").returncode == 0, "the answer never began")
        done = holdfast("bench", workstation.name, "--lengths", "128")
        assert done.returncode == 1 and "coder is generating for somebody; nothing was measured" in done.stderr, (
            done.stderr
        )
        assert person.wait(300) == 0
        last = json.loads(workstation.ssh(f"tail -n 1 {where}").stdout)
        assert last["done"] and last["eval_count"] == TOKENS, "it was cut"
    finally:
        person.kill()
        workstation.ssh(f"rm -f {where}")
