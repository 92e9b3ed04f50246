"""The second opinion on speed (tests/verify/test_speed.py) without a card: its program and checks, against fakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bench.fake_ollama import FakeOllama
from tests.unit.bench.machines import LEFT, PLANNED
from tests.unit.bench.test_job import machine
from tests.verify import test_speed as verify
from tests.verify.machine import LOOK, Shape

MODEL = "qwen2.5-coder:32b"
CARDS = {"cards": {PLANNED["left"]: "nvidia"}, "smi": [{"address": PLANNED["left"], "uuid": LEFT}], "problem": ""}
SHAPE = Shape.of(machine())


def seen(tmp_path: Path, **fakes: str) -> dict[str, Any]:
    """What the program says of a FAKE Ollama, with FAKE tools; ``fakes``: other scripts for them."""
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "cgroup.procs").write_text("4242\n")
    scripts = {
        "systemctl": f"echo /../../..{tmp_path}/group",
        "nvidia-smi": f"echo '{LEFT}, 4242'; echo '{LEFT}, 999'",
        "journalctl": "echo 'load_tensors: offloaded 65/65 layers to GPU'; echo other words",
    } | fakes
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    ollama = FakeOllama(MODEL, fail=fakes.get("fail", ""))
    given = {"instances": {"coder": ["ollama@coder.service", ollama.port, MODEL, 32, 3]}}
    done = subprocess.run(
        [sys.executable, "-I", str(LOOK / "speed.py"), json.dumps(given)], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_what_is_well_passes(tmp_path: Path) -> None:
    found = seen(tmp_path)
    assert found["coder"]["rates"] == pytest.approx([34.0] * 3)
    verify.test_models_are_wholly_on_their_planned_cards(found, SHAPE, CARDS)
    verify.test_models_are_as_fast_as_their_cards_allow(found, SHAPE, {"coder": 29.0})


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        ({"nvidia-smi": f"echo '{LEFT}, 999'"}, "coder is on set"),
        ({"journalctl": "echo 'load_tensors: offloaded 48/65 layers to GPU'"}, "48/65"),
        ({"journalctl": "true"}, "does not say where the layers went"),
    ],
)
def test_each_of_the_three_can_fail_alone(fake: dict[str, str], words: str, tmp_path: Path) -> None:
    found = seen(tmp_path, **fake)
    with pytest.raises(AssertionError, match=words):
        verify.test_models_are_wholly_on_their_planned_cards(found, SHAPE, CARDS)


def test_memory_on_the_processor_fails(tmp_path: Path) -> None:
    found = seen(tmp_path)
    found["coder"]["models"][0]["size_vram"] -= 1
    with pytest.raises(AssertionError, match="partly on the processor"):
        verify.test_models_are_wholly_on_their_planned_cards(found, SHAPE, CARDS)


def test_too_slow_fails_and_an_unknown_ceiling_is_said(tmp_path: Path) -> None:
    found = seen(tmp_path)
    with pytest.raises(AssertionError, match="holdfast bench box says why"):
        verify.test_models_are_as_fast_as_their_cards_allow(found, SHAPE, {"coder": 40.0})
    with pytest.raises(pytest.skip.Exception, match="not known: coder"):
        verify.test_models_are_as_fast_as_their_cards_allow(found, SHAPE, {"coder": 0.0})
