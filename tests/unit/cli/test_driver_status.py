"""What `status` says of the driver, from facts recorded anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.nvidia.states import STATES
from tests.unit.nvidia.trees import CARDS, GPUS, OLD, READY, Files, boot, debian, tree, ubuntu

from holdfast.cli import driver
from holdfast.cli.findings import findings
from holdfast.cli.main import run
from holdfast.components.nvidia.facts import read_machine
from holdfast.components.nvidia.packages import Want


def recorded(folder: Path, files: Files) -> Path:
    """What the driver's fact reads in a folder that looks like a machine, as a file."""
    file = folder / "facts.json"
    file.write_text(json.dumps(read_machine(str(tree(folder / "root", files)))))
    return file


@pytest.mark.parametrize("name", ["nothing installed", "installed, nouveau holds it", "nothing loaded"])
def test_a_recorded_state_is_explained_with_its_fix(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, state, reason, fix = STATES[name]
    assert run(["status", "--facts", str(recorded(tmp_path, files))]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"{state}:" in said and reason in said and fix in said and "Fix:" in said
    assert said.isascii() or not set(said) & set("│┃─━┏└"), "no drawing where there is no terminal"


def test_a_driver_that_is_ready_is_no_finding_and_status_json_is_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded(tmp_path, READY)
    file.write_text(json.dumps({"host": "elsewhere", "nvidia": {"recorded": json.loads(file.read_text())}}))
    assert run(["status", "--facts", str(file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["nvidia"]["state"] == "ready" and answer["nvidia"]["findings"] == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nvidia": 3}', '{"nvidia": {"recorded": {"gpus": 1}}}'])
def test_what_is_no_recording_is_one_clear_error(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "facts.json"
    file.write_text(text)
    assert run(["status", "--facts", str(file)]) == 2
    said = capsys.readouterr().err
    assert str(file) in said and "Fix:" in said and "unexpected" not in said


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--facts", str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_file_is_meant_from_where_the_person_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shim goes to the checkout, and says where it was called."""
    recorded(tmp_path, READY)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOLDFAST_CWD", str(tmp_path))
    assert run(["status", "--facts", "facts.json"]) == 0
    assert run(["plan", "--gguf", "facts.json", "--card", "rtx-3090"]) == 1, "it is there, and no GGUF file"
    said = capsys.readouterr().err
    assert "No such file" not in said and str(tmp_path / "facts.json") in said, said


def test_a_machine_that_could_not_be_read_yet_is_told_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "facts.json"
    for text in ("null", '{"host": "bare", "nvidia": null}'):
        file.write_text(text)
        assert run(["status", "--facts", str(file)]) == 2
        said = capsys.readouterr().err
        assert "holds no facts of a machine's cards and driver" in said and "NoneType" not in said


def test_the_way_out_names_the_machine_and_a_recording_s_does_not(tmp_path: Path) -> None:
    files = STATES["nothing installed"][0]
    facts = json.loads(recorded(tmp_path, files).read_text())
    fixes = {name: driver.told(facts, Want(), **given)["findings"][-1]["fix"]
             for name, given in {"gpu-box": {"name": "gpu-box"}, "HOST": {}}.items()}  # fmt: skip
    assert [fix.startswith(f"./holdfast up {name} ") for name, fix in fixes.items()] == [True, True], fixes


def test_a_card_that_no_instance_uses_is_judged_by_status_as_little_as_by_up(tmp_path: Path) -> None:
    facts = json.loads(recorded(tmp_path, READY).read_text())
    facts["gpus"][1]["device"] = "0x1b80"  # a GTX 1080, which the open modules do not drive
    addresses = [gpu["address"] for gpu in facts["gpus"]]
    used = {"one": {"left": addresses[0]}, "both": dict(zip(("left", "right"), addresses, strict=True))}
    states = {name: driver.told(facts, Want(gpus=gpus))["state"] for name, gpus in used.items()}
    assert states["one"] == "ready" and states["both"] != "ready", states


WELL = {"units": {}, "undeclared": [], "room": {"disks": {}}, "tailnet": {},
        "models": {"models": {}, "undeclared": [], "active": "inactive"}}  # fmt: skip
HANDED = {f"sys/bus/pci/devices/{at}/driver": "../../../../bus/pci/drivers/vfio-pci" for at in GPUS.values()}


@pytest.mark.parametrize(
    ("files", "links", "kernel", "code", "reason"),
    [
        (boot(OLD), {}, OLD, 0, "no NVIDIA GPU on the PCI bus"),
        ({**CARDS, **boot(OLD)}, HANDED, OLD, 1, "is handed to a virtual machine (vfio-pci)"),
        (ubuntu(), {}, "5.15.167.4-microsoft-standard-WSL2", 1, "this is WSL: its kernel is Windows' own"),
        ({**READY, ".dockerenv": ""}, {}, OLD, 1, "this container was given none of its host's cards"),
    ],
    ids=["none", "vfio", "wsl", "docker"],
)
def test_the_screen_says_why_no_card_can_be_used(
    files: Files, links: dict[str, str], kernel: str, code: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without any card lacks none, as far as a recording tells; one whose cards are elsewhere does."""
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(read_machine(str(tree(tmp_path / "root", files, kernel, links)))))
    assert run(["status", "--facts", str(file)]) == code
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(reason) >= 1 + code and said.count("Fix:") == code


def test_a_recording_is_judged_by_the_settings_that_were_recorded_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Live and replayed, the verdict is one: declared cards, minimum, source, and whether a card is needed at all."""
    facts = json.loads(recorded(tmp_path, {**READY, **debian()}).read_text())
    bare = {**facts, "gpus": []}
    file = tmp_path / "live.json"
    for found, want in (
        (facts, Want()), (facts, Want(minimum=580)), (facts, Want(minimum=580, source="none")),
        (facts, Want(gpus={"left": "0000:0a:00.0"})), (bare, Want()), (bare, Want(required=False)),
    ):  # fmt: skip
        live = json.loads(json.dumps({**driver.told(found, want, "gpu-box"), "recorded": found}))
        wrong = findings("gpu-box", {**WELL, "nvidia": live}, require_gpu=want.required, tailnet=False)
        file.write_text(json.dumps({"host": "gpu-box", "nvidia": live}))
        assert run(["status", "--facts", str(file), "--json"]) == (1 if wrong else 0)
        again = json.loads(capsys.readouterr().out)["nvidia"]
        assert [(f"GPU: {one['message']}", one["fix"]) for one in again["findings"]] == [(one.message, one.fix) for one in wrong]
        assert all(again[name] == live[name] for name in ("state", "reason", "fix", "usable", "notes", "asked"))
    # The same cards, without the settings: nothing is wrong with them.
    file.write_text(json.dumps({"nvidia": {"recorded": facts}}))
    assert run(["status", "--facts", str(file)]) == 0
    file.write_text(json.dumps({"nvidia": {"recorded": facts, "asked": {"minimum": "580"}}}))
    assert run(["status", "--facts", str(file)]) == 2
    assert 'asked: minimum is "580", where a whole number belongs' in capsys.readouterr().err


@pytest.mark.parametrize("beside", ["gpu-box", "--watch"])
def test_a_recording_and_a_machine_are_not_asked_at_once(
    beside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(recorded(tmp_path, READY))
    assert run(["status", beside, "--facts", file]) == 2
    said = capsys.readouterr()
    assert beside in said.err and f"./holdfast status --facts {file}" in said.err and not said.out
    assert run(["status", "--facts", file]) == 0
