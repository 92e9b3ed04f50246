"""`bench` against two real Ollama servers that take turns: the figures hang together, and what our part costs is not red."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SOAK
from tests.lease.servers import Server, Site

from holdfast.bench.judge import costs, hand_overs
from holdfast.bench.onhost import machine, main
from holdfast.paths import ONHOST

TOKENS = 64
ROUNDS = 6 if not SOAK else 12 * SOAK


def quiet(event: str, **data: Any) -> None:
    """Nobody watches."""


def below(process: int) -> dict[int, list[str]]:
    """The process and all below it, with their words: here no unit says which they are."""
    out = {}
    for pid in machine._descendants(process):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                out[pid] = os.fsdecode(file.read()).split("\0")[:-1]
        except OSError:
            continue
    return out


@pytest.fixture
def job(site: Site, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Both of them, sharing one card's lease."""
    servers = {name: serve(name) for name in ("coder", "reasoner")}
    monkeypatch.setattr(machine, "processes", lambda unit: below(servers[unit].pid))
    instances = {}
    for name, server in servers.items():
        path = site.folder / f"{name}.env"
        path.write_text("".join(f"{key}={value}\n" for key, value in server.environment.items() if key != "PATH"))
        instances[name] = {
            "port": server.port, "model": f"{name}:latest", "unit": name, "gpus": [], "lengths": [128, 512],
            "environment": str(path), "supervisor": str(ONHOST / "lease" / "supervisor.py"), "release": str(site.vendor),
        }  # fmt: skip
    return {
        "instances": instances, "pairs": [("coder", "reasoner")], "runs": 5, "tokens": TOKENS, "hand_overs": 2, "compare": 0,
        "force": False, "sudo": [],
    }  # fmt: skip


def test_figures_hang_together(job: dict[str, Any]) -> None:
    found = main.run(job, quiet)
    assert found["busy"] == {}
    for role, one in job["instances"].items():
        seen = found["instances"][role]
        assert seen["problem"] == ""
        for run in seen["runs"]:
            # The servers' tokenizer decides in steps of a word.
            assert abs(run["prompt_tokens"] - run["length"]) <= 5, run
            assert run["tokens"] == TOKENS
            # By two clocks: the server's parts fit into what was waited for here.
            assert 0 < run["prompt_s"] <= run["first_s"] < run["wall_s"] and run["decode_s"] < run["wall_s"], run
        # The cache of an earlier prompt would make long ones as cheap as short ones.
        short, long = (
            min(run["prompt_s"] for run in seen["runs"] if run["length"] == length) for length in one["lengths"]
        )
        assert long > short
    ways = {(one.before, one.after): one.seconds for one in hand_overs(found["hand_overs"])}
    assert {way: spread.count for way, spread in ways.items()} == {("coder", "reasoner"): 2, ("reasoner", "coder"): 2}


def test_what_our_part_costs(job: dict[str, Any]) -> None:
    """By turns with the same Ollama without our part, and with its llama-server alone. Red only where it surely is."""
    del job["instances"]["reasoner"]
    found = main.run(job | {"pairs": [], "compare": ROUNDS}, quiet)
    (compared,) = found["compare"]
    assert compared["problem"] == "" and len(compared["rounds"]) == ROUNDS
    judged = costs(compared)
    for cost in judged:
        one = cost.ratio
        print(f"against {cost.against}, {cost.by}: {one.median:.3f} ({one.low:.3f} to {one.high:.3f}): {cost.state}")
    assert len(judged) == 4 and sum(bool(cost.target) for cost in judged) == 3
    assert not [cost for cost in judged if cost.state == "red"], judged
    # Nothing that was started for it is left.
    assert not [pid for pid in below(os.getpid()) if b"holdfast-bench-" in Path(f"/proc/{pid}/environ").read_bytes()]
