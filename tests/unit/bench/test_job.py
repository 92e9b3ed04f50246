"""What is asked of the machine, and what is refused before it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from holdfast.bench.job import Wanted, job, lengths
from holdfast.cli.bench import served
from holdfast.errors import HoldfastError
from holdfast.settings.loader import resolve
from holdfast.settings.workstation import Workstation


def machine(**other: Any) -> Workstation:
    site = {
        "name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"},
        "tailscale": {"enabled": False},
    }  # fmt: skip
    return resolve(site | other)


def test_lengths_follow_the_context() -> None:
    assert lengths(16384, 128, True) == (128, 1024, 4096, 14592)
    assert lengths(4096, 128, True) == (128, 1024)
    assert lengths(8192, 128, True) == (128, 1024, 4096, 7168)
    assert lengths(8192, 128, False) == (128, 1024)
    assert lengths(512, 128, True) == (128,)
    for context in (512, 2048, 16384, 131072):
        assert max(lengths(context, 128, True)) + 128 < context


def test_the_job_has_what_the_machine_needs_and_no_more() -> None:
    found = job(machine(), Wanted(), ["sudo", "-n"], served)
    assert list(found["instances"]) == ["coder", "reasoner"] and found["sudo"] == ["sudo", "-n"]
    assert found["instances"]["coder"] == {
        "port": 11434, "model": "qwen2.5-coder:32b", "unit": "ollama@coder.service", "gpus": ["left"],
        "lengths": [128, 1024, 4096, 14592], "environment": "/etc/holdfast/ollama/coder.env",
        "supervisor": "/usr/local/lib/holdfast/holdfast_onhost/lease/supervisor.py", "release": "/opt/ollama/current",
    }  # fmt: skip
    assert found["pairs"] == [("coder", "reasoner")] and found["runs"] == 5
    one = job(machine(), Wanted(roles=("reasoner",), lengths=(256, 64)), [], served)
    assert (
        list(one["instances"]) == ["reasoner"]
        and one["instances"]["reasoner"]["lengths"] == [64, 256]
        and one["pairs"] == []
    )


def test_who_shares_nothing_takes_no_turns() -> None:
    ws = machine(profile="cpu", gpus={})
    assert job(ws, Wanted(), [], served)["pairs"] == []
    both = {role: {"lease": ["memory"]} for role in ("coder", "reasoner")}
    assert job(machine(profile="cpu", gpus={}, instances=both), Wanted(), [], served)["pairs"] == [("coder", "reasoner")]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"roles": ("painter",)}, "no instance 'painter'"),
        ({"runs": 4}, "5 or more"),
        ({"lengths": (16384,)}, "prompts of 16192 tokens at most"),
        ({"compare": 5}, "every instance has cards"),
    ],
)
def test_what_cannot_be_measured_is_refused(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(HoldfastError, match=words) as caught:
        job(machine(), dataclasses.replace(Wanted(), **wanted), [], served)
    assert caught.value.code == 2 and caught.value.fix


def test_the_least_share_is_a_setting() -> None:
    assert machine().ollama.min_roofline == 0.6
    assert machine(ollama={"min_roofline": 0.7}).ollama.min_roofline == 0.7
    with pytest.raises(HoldfastError, match="min_roofline"):
        machine(ollama={"min_roofline": 1.5})
