"""The verb: what it refuses, what it tells, its exit code and its picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bench.machines import LEFT, RIGHT, instance, look
from tests.unit.nvidia.trees import CARDS, tree

from holdfast.cli import bench, remote
from holdfast.cli.hosts import settings
from holdfast.cli.main import run
from holdfast.components.nvidia.facts import read_machine

HOSTS = """
box:
  profile: dual_3090
  login_user: ada
  ssh: {hostname: 192.0.2.1}
  gpus: {left: "01:00.0", right: "21:00.0"}
  tailscale: {enabled: false}
small:
  profile: cpu
  login_user: ada
  ssh: {hostname: 192.0.2.2}
  tailscale: {enabled: false}
"""


@pytest.fixture(autouse=True)
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def seen(coder: float, reasoner: float = 15.0, **more: Any) -> dict[str, Any]:
    """What the machine brings back."""
    both = look(LEFT, RIGHT, model="deepseek-r1:70b")
    instances = {"coder": instance(coder, LEFT), "reasoner": instance(reasoner, LEFT, RIGHT, looks=[both])}
    overs = [{"from": "coder", "to": "reasoner", "first_s": 12.0, "load_s": 0.0}]
    return {
        "processor": "FAKE, 2 threads",
        "instances": instances,
        "hand_overs": overs,
        "compare": [],
        "busy": {},
    } | more


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``session.measure`` was given; ``found`` is what it returns."""
    given: dict[str, Any] = {"found": seen(34.0)}

    def measure(words: list[str], job: dict[str, Any], progress: Any, **_: Any) -> Any:
        given.update(words=words, job=job)
        return given["found"]

    monkeypatch.setattr(bench.session, "measure", measure)
    monkeypatch.setattr("holdfast.cli.askpass.answering", _answering)
    return given


class _answering:
    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> tuple[bool, dict[str, str]]:
        return True, {}

    def __exit__(self, *_: object) -> None:
        pass


def test_a_machine_at_speed(machine: dict[str, Any], hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "box"]) == 0
    out = capsys.readouterr().out
    assert (
        machine["words"][0] == "ssh"
        and machine["words"][-1] == "python3 -I -S -"
        and machine["job"]["sudo"] == ["sudo", "-n"]
    )
    assert "coder (qwen2.5-coder:32b on left): ok" in out and "by nvidia-smi: yes" in out and "71 %" in out
    assert "hand-over coder -> reasoner: 12.00 s" in out
    assert (hosts / "state" / "holdfast" / "bench" / "box.svg").read_text().startswith("<svg")


def test_one_below_is_exit_code_1_with_reasons(
    machine: dict[str, Any], hosts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine["found"] = seen(20.0)
    target = hosts / "speed.svg"
    assert run(["bench", "box", "--json", "--out", str(target)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] and found["plot"] == str(target) and target.is_file()
    assert found["instances"]["coder"]["state"] == "below" and found["instances"]["reasoner"]["state"] == "ok"
    assert found["instances"]["coder"]["reasons"][0]["look"]
    assert [proof["holds"] for proof in found["instances"]["coder"]["proofs"]] == [True] * 3
    point = found["instances"]["coder"]["points"][0]
    assert point["decode_tokens_per_second"]["count"] == 5 and 0.4 < point["fraction"] < 0.45
    assert run(["bench", "box"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: coder" in out and "likeliest: " in out and "    Fix: " in out


def test_a_machine_at_work_is_left_alone(machine: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    machine["found"] = seen(34.0, busy={"coder": 0.9}) | {"instances": {}}
    assert run(["bench", "box"]) == 1
    told = capsys.readouterr().err
    assert "coder is generating for somebody" in told and "--force" in told


def test_without_cards_nobody_is_asked_for_a_password(
    machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = [
        {
            "unit": {"decode": 99.0, "wall": 90.0},
            "plain": {"decode": 99.0, "wall": 91.0},
            "bare": {"decode": 100.0, "wall": 95.0},
        }
    ]
    plain = {role: instance(900.0, looks=[], lengths=(128,)) for role in ("coder", "reasoner")}
    compared = [{"role": "coder", "rounds": rounds * 5, "others": 0.01, "problem": ""}]
    machine["found"] = seen(0.1) | {"instances": plain, "hand_overs": [], "compare": compared}
    assert run(["bench", "small", "--compare", "5"]) == 0
    out = capsys.readouterr().out
    assert machine["job"]["sudo"] == [] and machine["job"]["compare"] == 5
    assert "not judged: no card: it runs on the processor" in out and "processor: FAKE, 2 threads" in out
    assert re.search(r"the same Ollama without our part, decode rate as reported: 1.000 .*target 0.98\): ok", out)
    assert "its llama-server started by hand, decode rate as reported: 0.990" in out
    assert re.search(r"the same Ollama without our part, wall clock: 0.989 .*target 0.97\): ok", out)
    for one in rounds:
        one["unit"] = {"decode": 80.0, "wall": 70.0}
    assert run(["bench", "small", "--compare", "5"]) == 1
    compared[0]["problem"], compared[0]["rounds"] = "what is compared with does not start", []
    assert run(["bench", "small", "--compare", "5"]) == 1
    assert "the comparison could not be made: coder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--runs", "3"], "5 or more"),
        (["--instance", "painter"], "no instance 'painter'"),
        (["--lengths", "128,x"], "write 128,4096"),
        (["--lengths", "8"], "32 or more"),
        (["--tokens", "1"], "16 or more"),
        (["--out", "/nonexistent/x.svg"], "mkdir -p /nonexistent"),
        (["--compare"], "every instance has cards"),
    ],
)
def test_wrong_words_are_told_before_anything_is_connected(
    words: list[str], told: str, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "box", *words]) == 2
    assert told in capsys.readouterr().err and "job" not in machine


@pytest.mark.parametrize(
    ("addresses", "require", "gpus"),
    [
        ({"left": "01:00.0", "right": "02:00.0"}, "false", {"coder": ["left"], "reasoner": ["left", "right"]}),
        ({"left": "01:00.0", "right": "22:00.0"}, "false", {"coder": ["left"], "reasoner": []}),
        ({"left": "31:00.0", "right": "22:00.0"}, "false", {"coder": [], "reasoner": []}),
        ({"left": "31:00.0", "right": "22:00.0"}, "true", {"coder": ["left"], "reasoner": ["left", "right"]}),
    ],
)
def test_what_has_no_card_is_measured_on_the_processor(
    addresses: dict[str, str], require: str, gpus: dict[str, list[str]], hosts: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Cards at 01:00.0 and 02:00.0 are there; a lease is held all the same, as the unit holds it."""
    text = HOSTS.replace("01:00.0", addresses["left"]).replace("21:00.0", addresses["right"])
    (hosts / "hosts.yml").write_text(text.replace("  login_user", f"  require_gpu: {require}\n  login_user", 1))
    monkeypatch.setattr(remote, "fact", lambda *_, **__: read_machine(str(tree(hosts / "root", CARDS))))
    before = settings("box")
    after = bench.as_it_is(before)
    assert {role: one.gpus for role, one in after.instances.items()} == gpus
    assert {role: one.held for role, one in after.instances.items()} == {r: one.held for r, one in before.instances.items()}
