"""`plan` says what lies on which card before anything else, also without a machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.fit.gguf_bytes import header, model

from holdfast.apply import run as runner
from holdfast.apply.result import Result
from holdfast.cli.main import run
from holdfast.lab.models import roles

HOST = """gpu-box:
  profile: dual_3090
  ssh: {hostname: 192.168.1.20, user: ada}
  login_user: ada
  gpus: {left: "01:00.0", right: "21:00.0"}
  tailscale: {enabled: false}
"""


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOLDFAST_HOSTS", str(tmp_path / "hosts.yml"))
    monkeypatch.delenv("HOLDFAST_SET", raising=False)
    (tmp_path / "hosts.yml").write_text(HOST)
    return tmp_path


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_profile_without_a_machine(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--profile", "dual_3090"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == [
        "instance", "GPU", "card", "PCI", "address", "weights", "KV", "buffers", "spare", "context", "verdict", "tokens/s",
    ]  # fmt: skip
    assert ["coder", "left", "GeForce", "RTX", "3090", "-", "18,508"] in [row[:7] for row in rows(said)]
    assert "coder and reasoner cannot be loaded at the same time" in said


@pytest.mark.parametrize(
    ("words", "said", "leases"),
    [
        ([], "coder and reasoner cannot be loaded at the same time: they take turns", [["left"], ["left", "right"]]),
        (["--card", "rtx-pro-6000"], "coder, reasoner may stay loaded at the same time: none waits", [[], ["right"]]),
        (
            ["--card", "rtx-pro-6000", "--set", "instances.coder.lease=[left]", "--set", "instances.reasoner.lease=[left]"],
            "coder and reasoner both hold left: they take turns", [["left"], ["left"]],
        ),
        (["--set", "card="], "whether coder and reasoner could be loaded at the same time is not known: they take turns",
         [["left"], ["left", "right"]]),
    ],
)  # fmt: skip
def test_who_waits_for_whom_is_what_the_leases_do(
    hosts: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str, leases: list[list[str]]
) -> None:
    base = ["plan", "--profile", "dual_3090", *words]
    assert run(base) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(said)]
    assert run([*base, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert [one["lease"] for one in found["instances"].values()] == leases
    both = bool(set(leases[0]) & set(leases[1]))
    assert found["take_turns"] == ([["coder", "reasoner"]] if both else [])
    assert found["resident_together"] == ([["coder"], ["reasoner"]] if both else [["coder", "reasoner"]])


def test_a_profile_that_does_not_fit_names_what_does(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--profile", "dual_3090", "--set", "instances.coder.context=32768"]
    assert run(words) == 2
    told = capsys.readouterr()
    assert "does not fit" in told.out and "32768 of 29184" in told.out
    assert told.err.splitlines()[-1] == "Fix: instances.coder: {context: 29184}"
    assert run([*words[:3], "--set", "instances.coder.context=29184"]) == 0
    assert run([*words[:3], "--set", "instances.coder.context=29440"]) == 2


def test_other_cards(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["plan", "--profile", "dual_3090"]
    assert run([*base, "--card", "rtx-3060"]) == 2
    assert run([*base, "--card", "rtx-5090"]) == 0
    assert run([*base, "--card", "rtx-5090", "--card", "rtx-3090"]) == 0
    assert run([*base, "--card", "right=rtx-3060"]) == 2
    capsys.readouterr()
    for words in (["--card", "rtx-309"], ["--card", "middle=rtx-3090"], ["--card", "rtx-3090"] * 3):
        assert run([*base, *words]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("Fix: ")


def test_a_gguf_without_a_machine(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles.write_coder(hosts / "tiny.gguf")
    assert run(["plan", "--gguf", str(hosts / "tiny.gguf"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]["instances"]["gguf"]
    assert found["fits"] is True and found["shape"] == "read from the GGUF" and found["largest_context"] == 32768
    assert found["gpus"][0]["card"] == "GeForce RTX 3090"


def test_a_gguf_that_is_not_known_is_not_guessed(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hosts / "new.gguf").write_bytes(header(*model("brand-new")))
    assert run(["plan", "--gguf", str(hosts / "new.gguf")]) == 0
    said = capsys.readouterr().out
    assert "unknown" in said and "'brand-new' is not known here" in said
    (hosts / "cut.gguf").write_bytes(header(*model())[:100])
    assert run(["plan", "--gguf", str(hosts / "cut.gguf")]) == 1
    assert run(["plan", "--gguf", str(hosts / "none.gguf")]) == 2


@pytest.mark.parametrize(
    "words",
    [["--profile", "dual_309"], ["--profile", "cpu", "--gguf", "x"], ["--profile", "cpu", "--reboot"],
     ["gpu-box", "--reboot", "--no-reboot"],
     ["gpu-box", "--profile", "cpu"], ["gpu-box", "--card", "t4"],
     ["--profile", "dual_3090", "--set", "instances.coder.contxt=1"], ["--profile", "dual_3090", "--set", "nonsense=1"],
     ["--profile", "dual_3090", "--set", "instances.coder.gpus=[left, left]"], ["--profile", "dual_3090", "--card", ""],
     ["--profile", "dual_3090", "--set", "instances="], ["--profile", "dual_3090", "--set", "instances.coder.lease=[]"],
     ["--profile", "dual_3090", "--set", "instances.coder.context=999999999999"],
     ["--profile", "dual_3090", "--set", 'models.shapes={"a:b": /dev/zero}'], ["--gguf", "/dev/zero"]],
)  # fmt: skip
def test_wrong_words(hosts: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("Fix: ")


def test_a_profile_takes_every_setting_that_decides(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles.write_coder(hosts / "tiny.gguf")
    base = ["plan", "--profile", "dual_3090", "--json"]
    values = {
        "instances.coder.model": "tiny:1", "models.shapes": f'{{"tiny:1": {hosts / "tiny.gguf"}}}', "gpus.left.card": "rtx-5090",
        "gpus.right.display": "true",
    }  # fmt: skip
    assert run([*base, *(word for key, value in values.items() for word in ("--set", f"{key}={value}"))]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]["instances"]
    assert found["coder"]["shape"] == "read from the GGUF"
    assert run(base) == 0
    plain = json.loads(capsys.readouterr().out)["fit"]["instances"]
    left, right = found["reasoner"]["gpus"]
    assert left["card"] == "GeForce RTX 5090"
    # The display's 800 MiB move layers to the card without one.
    assert right["layers"] < plain["reasoner"]["gpus"][1]["layers"]


def test_a_file_that_never_begins_is_no_gguf(hosts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(hosts / "pipe.gguf")
    assert run(["plan", "--gguf", str(hosts / "pipe.gguf")]) == 2
    assert "it is no ordinary file" in capsys.readouterr().err


def test_a_host_is_judged_before_it_is_asked(
    hosts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def plan(name: str, **options: Any) -> Result:
        asked.append(capsys.readouterr().out)
        return Result(operations=3)

    monkeypatch.setattr(runner, "plan", plan)
    assert run(["plan", "gpu-box"]) == 0
    assert "0000:21:00.0" in asked[0] and "19,941" in asked[0], "the table is there before the machine is asked"
    assert run(["plan", "gpu-box", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fit"]["exclude_each_other"] == [["coder", "reasoner"]] and found["operations"] == 3
    del asked[:]
    assert run(["plan", "gpu-box", "--set", "instances.reasoner.context=65536"]) == 2
    told = capsys.readouterr()
    assert not asked and "does not fit" in told.out and "Fix: instances.reasoner: {context: 25344}" in told.err
    monkeypatch.delenv("HOLDFAST_SET")
    assert run(["plan", "gpu-box", "--json", "--set", "instances.reasoner.context=65536"]) == 2
    assert json.loads(capsys.readouterr().out)["fit"]["instances"]["reasoner"]["fits"] is False
