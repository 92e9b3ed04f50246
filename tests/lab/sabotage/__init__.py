"""What breaks each promise: for every check of tests/verify a way to turn it red that the next apply repairs, or why not."""

from __future__ import annotations

from tests.lab.sabotage import aider, base, environment, models, ollama, open_webui, tailscale
from tests.lab.sabotage.kind import Sabotage

SABOTAGES: list[Sabotage] = [
    *base.SABOTAGES, *models.SABOTAGES, *ollama.SABOTAGES, *environment.SABOTAGES, *open_webui.SABOTAGES,
    *aider.SABOTAGES, *tailscale.SABOTAGES,
]  # fmt: skip
# What changes servers before what stops them: a stopped one shows nothing else.
BATCHES = sorted({s.batch for s in SABOTAGES}, reverse=True)
# Repaired before the next one: no server lives long with every variable wrong.
ALONE = {4}

_NO_CARD = "no NVIDIA GPU on this machine (require_gpu: false)"
# Checks that the lab cannot turn red, and the words with which they must be skipped there.
WAIVED: dict[str, str] = {
    "test_nvidia.py::test_declared_cards_are_there": _NO_CARD,
    "test_nvidia.py::test_driver_has_every_card": _NO_CARD,
    "test_nvidia.py::test_driver_is_one_and_new_enough": _NO_CARD,
    "test_ollama.py::test_all_of_the_model_is_on_the_cards": _NO_CARD,
    "test_ollama.py::test_servers_see_exactly_their_cards": _NO_CARD,
    "test_speed.py::test_models_are_as_fast_as_their_cards_allow": _NO_CARD,
    "test_speed.py::test_models_are_wholly_on_their_planned_cards": _NO_CARD,
}


# systemd calls it started long before it answers; a page that is not there yet would be red for no good reason.
_ANSWERS = "timeout 120 sh -c 'until curl -s -o /dev/null http://127.0.0.1:8080/ready; do sleep 0.3; done'"


def batch(number: int) -> list[Sabotage]:
    """The sabotages that are done together: none of them, nor of the batches before, hides another."""
    return [s for s in SABOTAGES if s.batch == number]


def script(sabotages: list[Sabotage]) -> str:
    """One shell script (for root) that does them all; units are restarted once, at the end."""
    units = list(dict.fromkeys(unit for s in sabotages for unit in s.restarts))
    parts = ["set -eu", *(f"# {s.name}\n{s.script.strip()}" for s in sabotages), "systemctl daemon-reload"]
    parts += [f"systemctl restart {' '.join(units)}"] if units else []
    parts += [_ANSWERS] if "open-webui" in units else []
    return "\n".join(parts) + "\n"
