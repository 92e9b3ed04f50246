"""The promised environment is the one that is written, whole; and every variable in it can turn the check red by itself."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest

from holdfast.components.ollama import files
from holdfast.paths import ROOT
from holdfast.settings.loader import resolve

sys.path.insert(0, str(ROOT))

from tests.lab.sabotage.environment import OTHER
from tests.verify.environment import promised, wrong
from tests.verify.machine import Shape

UUIDS = "GPU-0c8f6a2e-1111-2222-3333-444455556666"
# Of the deploy's own making, and computed: no promise.
OURS = {"HOLDFAST_CONFIG", "HOLDFAST_LEASE_VRAM"}
CHANGES: list[dict[str, Any]] = [
    {},
    {"require_gpu": False, "ollama": {"lease_min_hold_s": 2.5, "load_limit_s": 90, "cache_ram_mib": 0}},
    {"instances": {"reasoner": {"batch": 256, "parallel": 2, "context": 4096, "kv_type": "f16", "flash_attention": False}}},
    {"card": "rtx-pro-6000", "ollama": {"llm_library": "cuda_v13"}},
]


def machine(**changes: Any) -> Any:
    site = {"name": "box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"}}
    return resolve({**site, **changes})


def written(ws: Any, role: str) -> dict[str, str]:
    """What systemd makes of the file, with what devices.py adds."""
    lines = [line for line in files.environment(ws, role, "r").splitlines() if line and not line.startswith("#")]
    pairs = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    return {**pairs, "CUDA_VISIBLE_DEVICES": UUIDS, "HOLDFAST_GPUS": UUIDS}


@pytest.mark.parametrize("changes", CHANGES)
def test_what_is_written_is_what_is_promised_and_nothing_is_left_out(changes: dict[str, Any]) -> None:
    ws = machine(**changes)
    for role in ws.instances:
        running, shape = written(ws, role), Shape.of(ws)
        assert wrong(role, shape, running) == {}
        assert set(promised(role, shape, running)) == set(running) - OURS - {"CUDA_VISIBLE_DEVICES"}


@pytest.mark.parametrize("key", OTHER)
def test_each_variable_turns_the_check_red(key: str) -> None:
    ws = machine()
    running = written(ws, "reasoner") | {key: OTHER[key]}
    assert wrong("reasoner", Shape.of(ws), running) == {key: OTHER[key]}
    del running[key]
    assert wrong("reasoner", Shape.of(ws), running) == {key: None}


def test_every_variable_is_sabotaged() -> None:
    ws = machine()
    assert set(OTHER) == set(promised("reasoner", Shape.of(ws), written(ws, "reasoner")))
    everything = wrong("reasoner", Shape.of(ws), written(ws, "reasoner") | OTHER)
    assert list(everything) == sorted(OTHER), "in one machine they are all named"
