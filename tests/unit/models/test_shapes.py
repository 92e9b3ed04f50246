"""`depot update` reads a model's shape from the beginning of its GGUF, as the registry serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.components.models import pins, shapes
from holdfast.errors import HoldfastError
from holdfast.fit import lock
from holdfast.lab.models import make, registry
from holdfast_onhost.fetch import Manner

CODER, REASONER = "qwen2.5-coder:32b", "deepseek-r1:70b"


@pytest.mark.parametrize("mode", ["location", "plain", "norange"])
def test_the_shape_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(shapes, "MANNER", Manner(tries=2, pause=0.001))
    make(tmp_path / "served")
    copy = tmp_path / "models.yml"
    copy.write_text(pins.LOCK.read_text())
    behaviour = registry.Behaviour(mode)
    with registry.serving(tmp_path / "served", behaviour) as server:
        found = shapes.update(CODER, server.url, "any", copy)
        with pytest.raises(HoldfastError, match="404"):
            shapes.update("deepseek-r1:32b", server.url, "any", copy)
    assert found.architecture == "llama" and len(found.layers) == 2 and found.source == "read from the GGUF"
    assert lock.shapes(copy)[CODER] == found
    assert {k: v for k, v in lock.shapes(copy).items() if k != CODER} == {
        k: v for k, v in lock.shapes().items() if k != CODER
    }
    assert pins.lock(copy) == pins.lock()


def test_a_registry_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MANNER", Manner(tries=1, pause=0.001))
    with pytest.raises(HoldfastError) as caught:
        shapes.update(CODER, "http://127.0.0.1:1", "any", tmp_path / "models.yml")
    assert "Fix:" in caught.value.render()
