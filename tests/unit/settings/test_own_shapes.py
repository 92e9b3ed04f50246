"""A site's own model, which is in no lock: its shape from a file of this computer or as `depot update` prints it, else a Fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.fit.gguf_bytes import header, model

from holdfast.cli.main import run
from holdfast.errors import SettingsError
from holdfast.lab.models import make, registry
from holdfast.settings import fitting
from holdfast.settings.loader import resolve
from holdfast.settings.merge import merge

BLOCK: dict[str, Any] = {
    "name": "gpu-box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"},
}  # fmt: skip
NAME = "somebody/coder:13b"


def site(shapes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    own = {"models": {"shapes": shapes}, "instances": {"coder": {"model": NAME, "context": 4096}}}
    return merge(merge(BLOCK, own), changes)


def test_a_model_that_nobody_knows_is_unknown_and_says_what_to_do() -> None:
    asked = fitting.asked(resolve(site({})))
    assert asked.verdicts["coder"].fits is None
    assert f"./holdfast depot update {NAME}" in asked.advice("coder") and "shapes" in asked.advice("coder")
    assert asked.advice("reasoner") == ""
    card = fitting.asked(resolve({**BLOCK, "card": "", "gpus": {"left": "01:00.0", "right": "21:00.0"}}))
    assert "card: KIND" in card.advice("reasoner")


def test_the_shape_comes_from_a_file_of_this_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.gguf").write_bytes(header(*model()))
    for path in (str(tmp_path / "own.gguf"), "~/own.gguf"):
        assert fitting.verdicts(resolve(site({NAME: path})))["coder"].fits is True
    (tmp_path / "own.gguf").write_bytes(header(*model("brand-new")))
    asked = fitting.asked(resolve(site({NAME: "~/own.gguf"})))
    assert asked.verdicts["coder"].fits is None and "brand-new" in asked.verdicts["coder"].reason
    assert "bench" in asked.advice("coder"), "no shape helps there"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("/nowhere/model.gguf", "No such file"), ("model.gguf", "absolute path"), ({"source": "x"}, "cannot be read"),
        ("/", "ordinary file"),
    ],
)  # fmt: skip
def test_what_is_no_shape_is_refused_with_a_fix(given: Any, word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(site({NAME: given}))
    text = caught.value.render()
    assert word in text and "Fix: " in text and "models.shapes" in text
    assert caught.value.code == 2


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("hello")
    with pytest.raises(SettingsError, match="no GGUF header"):
        resolve(site({NAME: str(tmp_path / "x.gguf")}))


def test_own_shapes_come_before_the_locks(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(header(*model()))
    own = {"models": {"shapes": {"deepseek-r1:70b": str(tmp_path / "small.gguf")}}}
    found = fitting.verdicts(resolve(merge(BLOCK, own)))["reasoner"]
    assert found.shape is not None and len(found.shape.layers) < 80


def test_what_depot_update_prints_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "served")
    library = tmp_path / "served" / "manifests" / "library"
    own = tmp_path / "served" / "manifests" / "somebody" / "coder"
    own.mkdir(parents=True)
    (own / "13b").write_bytes((library / "qwen2.5-coder" / "32b").read_bytes())
    with registry.serving(tmp_path / "served") as server:
        assert run(["depot", "update", NAME, "--registry", server.url]) == 0
    said = capsys.readouterr().out
    lines = said[said.index("  models:") :]
    block = merge(BLOCK, {"instances": {"coder": {"model": NAME}}})
    text = yaml.safe_dump({"gpu-box": {k: v for k, v in block.items() if k != "name"}}) + lines
    ws = resolve({"name": "gpu-box", **yaml.safe_load(text)["gpu-box"]})
    assert fitting.verdicts(ws)["coder"].fits is True
    assert ws.models.pins[NAME].startswith("sha256:")
