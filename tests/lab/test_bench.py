"""`./holdfast bench` on the throw-away machine: the same program as on cards, here on the processor with the small models."""

from __future__ import annotations

import json
import signal
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from tests.conftest import SOAK
from tests.lab.holdfast_command import as_json, environment, holdfast, words
from tests.waiting import until

from holdfast.paths import ROOT

ROLES = {"coder", "reasoner"}
TOKENS = (8000, 16000, 32000)  # one of them takes longer than `bench` takes to look


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


def test_ctrl_c_in_the_midst_leaves_nothing(workstation: Any) -> None:
    """While both servers that were started by hand run, and the unit holds its lease."""
    pids = workstation.pids()
    person = subprocess.Popen(
        words("bench", workstation.name, "--compare", "200", "--lengths", "128", "--hand-overs", "0", "--instance", "coder"),
        cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: person.poll() is not None or len(leftovers(workstation).split()) > 2, "nothing was started by hand", 120)
        assert person.poll() is None, person.communicate()
        person.send_signal(signal.SIGINT)
        _, said = person.communicate(timeout=60)
        assert person.returncode == 130 and "ends with it" in said, said
    finally:
        person.kill()
        person.wait()
    until(lambda: leftovers(workstation) == "", "what was started by hand runs on")
    assert workstation.root("ls -d /tmp/holdfast-bench-* 2>/dev/null || true") == ""
    # The lease is free for the other one, and nobody generates for nobody.
    for role in ("reasoner", "coder"):
        instance = workstation.settings.instances[role]
        asked = json.dumps({"model": instance.model, "prompt": "x", "stream": False, "options": {"num_predict": 1}})
        url = f"http://127.0.0.1:{instance.port}/api/generate"
        assert json.loads(workstation.ssh(f"curl -sf -d '{asked}' {url}").stdout)["done"], role
    assert workstation.pids() == pids


def test_an_answer_in_the_making_is_not_disturbed(workstation: Any) -> None:
    """Longer answers where this computer is so busy that one has ended before `bench` has looked."""
    for tokens in TOKENS:
        told = during_an_answer(workstation, tokens)
        if told:
            break
    assert "coder is generating for somebody; nothing was measured" in told, told


def during_an_answer(workstation: Any, tokens: int) -> str:
    """What `bench` says when it refuses while somebody's answer of so many tokens is made; "" when it measured."""
    instance = workstation.settings.instances["coder"]
    story = {"model": instance.model, "prompt": "A very long story, please.", "options": {"num_predict": tokens}}
    # Into a file there: a reader that does not read would bring the answer to a halt.
    where = "/tmp/holdfast-story"
    person = workstation.open(
        ["curl", "-sN", "-o", where, "-d", f"'{json.dumps(story)}'", f"http://127.0.0.1:{instance.port}/api/generate"]
    )
    try:
        until(lambda: workstation.ssh(f"test -s {where}").returncode == 0, "the answer never began")
        done = holdfast("bench", workstation.name, "--lengths", "128", "--instance", "coder")
        assert person.wait(300) == 0
        last = json.loads(workstation.ssh(f"tail -n 1 {where}").stdout)
        assert last["done"] and last["eval_count"] == tokens, "it was cut"
        return done.stderr if done.returncode == 1 else ""
    finally:
        person.kill()
        workstation.ssh(f"rm -f {where}")
