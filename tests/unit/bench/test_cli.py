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
from holdfast.paths import ROOT

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

KEYS = {
    "all": {"host", "processor", "min_roofline", "failed", "instances", "hand_overs", "costs", "problems", "plot"},
    "an instance": {
        "model", "gpus", "state", "why", "fraction", "load_s", "waited_runs", "short_answers", "points", "proofs", "cards",
        "reasons", "notes",
    },
    "a point": {
        "prompt", "context", "prompt_tokens_per_second", "decode_tokens_per_second", "first_token_s", "roofline", "fraction",
    },
    "a proof": {"name", "holds", "words"},
    "a card": {
        "name", "model", "driver", "draw_w", "limit_w", "default_limit_w", "celsius", "memory_mhz", "memory_most_mhz", "pcie",
        "pcie_most", "power", "heat", "slowdown",
    },
    "a reason": {"what", "look"},
    "a hand-over": {"from", "to", "seconds"},
    "a cost": {"role", "against", "by", "ratio", "interval", "rounds", "target", "others", "plain_ratio", "state"},
}  # fmt: skip


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
        and "ServerAliveInterval=15" in machine["words"]
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
    assert "FAILED: comparison of coder: what is compared with does not start" in capsys.readouterr().out


def test_the_objects_keys_are_those_that_are_documented(
    machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs read them: one that is renamed or gone is noticed here first. docs/hardware.md names each."""
    rounds = [{way: {"decode": 99.0, "wall": 90.0} for way in ("unit", "plain", "bare")}]
    machine["found"] = seen(20.0, compare=[{"role": "coder", "rounds": rounds * 5, "others": 0.01, "problem": ""}])
    machine["found"]["instances"]["coder"]["problem"] = "\x1b[31m500\x1b[0m"
    assert run(["bench", "box", "--json"]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text and text.count("\n") == 1
    found = json.loads(text)
    spread = {"median", "least", "most", "count"}
    reasoner = found["instances"]["reasoner"]
    documented = {
        "all": found, "an instance": reasoner, "a point": reasoner["points"][0], "a proof": reasoner["proofs"][0],
        "a card": reasoner["cards"][0], "a reason": found["instances"]["coder"]["reasons"][0],
        "a hand-over": found["hand_overs"][0], "a cost": found["costs"][0],
    }  # fmt: skip
    assert {name: set(one) for name, one in documented.items()} == KEYS
    assert set(reasoner["points"][0]["first_token_s"]) == set(found["hand_overs"][0]["seconds"]) == spread
    told = (ROOT / "docs" / "hardware.md").read_text()
    assert [key for keys in [*KEYS.values(), spread] for key in keys if f"`{key}`" not in told] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--runs", "3"], "5 or more"),
        (["--instance", "painter"], "no instance 'painter'"),
        (["--lengths", "128,x"], "write 128,4096"),
        (["--lengths", "8"], "32 or more"),
        (["--tokens", "1"], "16 or more"),
        (["--out", "/nonexistent/x.svg"], "mkdir -p /nonexistent"),
        (["--out", "/etc/hostname/x.svg"], "cannot be written: Not a directory"),
        (["--out", "/proc/x.svg"], "cannot be written: "),
        (["--out", "/etc"], "Fix: --out /etc/speed.svg"),
        (["--compare"], "every instance has cards"),
    ],
)
def test_wrong_words_are_told_before_anything_is_connected(
    words: list[str], told: str, machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "box", *words]) == 2
    assert told in capsys.readouterr().err and "job" not in machine


def test_a_plot_that_cannot_be_written_loses_no_figure(
    machine: dict[str, Any], hosts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while it is measured."""
    target = hosts / "speed.svg"
    monkeypatch.setattr(bench.plot, "svg", lambda *_: target.mkdir() or "<svg")
    assert run(["bench", "box", "--out", str(target)]) == 1
    out = capsys.readouterr().out
    assert "coder (qwen2.5-coder:32b on left): ok" in out and "could not be written: Is a directory" in out
    assert "Fix: make room there" in out
    target.rmdir()
    assert run(["bench", "box", "--json", "--out", str(target)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["plot"] is None and found["problems"] and found["instances"]["coder"]["state"] == "ok"


def test_ctrl_c_says_what_becomes_of_it(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.session, "measure", interrupted)
    assert run(["bench", "box"]) == 130
    assert "ends with it" in capsys.readouterr().err


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
    assert {role: one.held for role, one in after.instances.items()} == {
        r: one.held for r, one in before.instances.items()
    }
