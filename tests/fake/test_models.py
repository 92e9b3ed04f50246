"""Another model for a role: clients change over when it has answered; what is not declared goes only when told so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.fake import engine, world
from tests.fake.machine import Machine
from tests.fake.models import manifest
from tests.fake.test_interrupted import shots
from tests.fake.world import digest

from holdfast.components.models import change
from holdfast.components.models.files import SETTINGS, UNIT

OLD, NEW = "qwen2.5-coder:32b", "other-coder:7b"
STORE = "/var/lib/holdfast/models"
CHANGE = "Models: change | Let new models answer before they take over"
SWEEP = "Models: wait | Remove models that are not declared"
CLIENT = "/etc/holdfast/aider/aider.conf.yml"
CODER, ENVIRONMENT = "ollama@coder.service", "/etc/holdfast/ollama/coder.env"


def other(site: dict[str, Any], **models: Any) -> dict[str, Any]:
    """Two lines: the model, and its pin."""
    pins = {**site["models"]["pins"], NEW: "sha256:" + digest(NEW)}
    return {**site, "instances": {"coder": {"model": NEW}}, "models": {**site["models"], "pins": pins, **models}}


def test_old_model_stays_in_service_until_the_new_one_has_answered(converged: Machine, site: dict[str, Any]) -> None:
    settings, machine = other(site), converged.copy()
    env, process = machine.text(ENVIRONMENT), machine.units[CODER].process
    taken = shots(machine, settings)
    switched = [shot for _, shot in taken if NEW in (shot.text(CLIENT) or "")]
    waiting = [shot for _, shot in taken if NEW not in (shot.text(CLIENT) or "")]
    assert switched and waiting
    for shot in taken:
        assert shot[1].text(manifest(STORE, OLD)), shot[0]
    answered = [shot for _, shot in taken if json.loads(shot.text(change.IN_SERVICE) or "{}")["coder"] == "sha256:" + digest(NEW)]
    assert 0 < len(answered) < len(taken)
    for _, shot in taken:
        if shot not in answered:
            assert (shot.text(ENVIRONMENT), shot.units[CODER].process) == (env, process), "nobody has touched its server"
    assert machine.units[CODER].process != process, "the arithmetic is another one for another model"
    for shot in switched:
        assert shot.text(manifest(STORE, NEW)) and shot in answered
    done = engine.run(machine, settings)
    assert not done.failed and done.changed == []
    assert machine.text(manifest(STORE, OLD)), "the default only lists it"


def test_new_model_that_does_not_answer_leaves_the_clients_alone(converged: Machine, site: dict[str, Any]) -> None:
    settings = other(site)
    settings["models"] = {**settings["models"], "store": STORE}
    before = converged.text(CLIENT), converged.text(ENVIRONMENT), converged.units[CODER]
    converged.refuses = {NEW}  # type: ignore[attr-defined]
    done = engine.run(converged, settings)
    assert done.failed
    assert NEW in done.errors[0]["message"] and "still in service" in done.errors[0]["fix"]
    assert (converged.text(CLIENT), converged.text(ENVIRONMENT), converged.units[CODER]) == before
    converged.refuses = set()  # type: ignore[attr-defined]
    done = engine.run(converged, settings)
    assert not done.failed and CHANGE in done.changed
    assert NEW in (converged.text(CLIENT) or "")


def test_sync_removes_the_old_one_last(converged: Machine, site: dict[str, Any]) -> None:
    done = engine.run(converged, other(site, sync=True))
    assert not done.failed, done.errors
    assert done.changed[-1] == SWEEP
    assert converged.text(manifest(STORE, OLD)) is None
    assert converged.text(manifest(STORE, NEW))
    assert engine.run(converged, other(site, sync=True)).changed == []


@pytest.mark.parametrize(("sub", "restarted"), [("start-pre", 0), ("auto-restart", 1)])
def test_a_puller_that_still_copies_is_left_at_it(converged: Machine, site: dict[str, Any], sub: str, restarted: int) -> None:
    converged.remove(manifest(STORE, OLD))
    converged.units[UNIT] = replace(converged.units[UNIT], state="activating")
    converged.sub = sub  # type: ignore[attr-defined]
    before = converged.starts[UNIT]
    done = engine.run(converged, site)
    assert converged.starts[UNIT] - before == restarted
    assert done.failed == (not restarted), "what nobody finishes is told"


def test_store_elsewhere_must_be_there(converged: Machine, site: dict[str, Any]) -> None:
    settings = {**site, "models": {**site["models"], "store": "/mnt/models"}}
    before = converged.picture()
    done = engine.run(converged, settings)
    assert done.failed
    assert "/mnt/models does not exist" in done.errors[0]["message"]
    assert converged.picture() == before
    for below in ("", "/blobs", "/manifests"):
        converged.put(f"/mnt/models{below}", converged.disk[STORE])
    done = engine.run(converged, settings)
    assert not done.failed, done.errors
    assert converged.text(manifest("/mnt/models", OLD))
    assert json.loads(converged.text(SETTINGS) or "")["store"] == "/mnt/models"
    assert "OLLAMA_MODELS=/mnt/models\n" in (converged.text("/etc/holdfast/ollama/coder.env") or "")
    assert engine.run(converged, settings).changed == []


def test_old_model_stays_in_service_while_the_new_one_cannot_be_had(
    converged: Machine, site: dict[str, Any]
) -> None:
    """The pinned Ollama is too old for it (412): told with the pin to move, and everybody goes on with the old one."""
    why = f"{NEW}: the registry wants a newer Ollama than 0.32.15 for it (HTTP 412 too old)"
    fix = "raise artifacts.ollama.version in locks/artifacts.yml, then ./holdfast depot update ollama"
    client, old, unit = converged.text(CLIENT), converged.text(manifest(STORE, OLD)), converged.units[CODER]
    settings = other(site)
    converged.withheld = {NEW: (why, fix)}  # type: ignore[attr-defined]
    done = engine.run(converged, settings)
    assert done.failed
    assert "wants a newer Ollama" in done.errors[0]["message"] and "artifacts.ollama.version" in done.errors[0]["fix"]
    assert converged.text(CLIENT) == client and converged.text(manifest(STORE, OLD)) == old
    assert converged.units[CODER] == unit
    converged.withheld = {}  # type: ignore[attr-defined]
    assert not engine.run(converged, settings).failed
    assert NEW in (converged.text(CLIENT) or "")


def test_a_model_that_serves_is_replaced_with_care_though_another_never_came(site: dict[str, Any]) -> None:
    """The first apply ended without the reasoner's; the coder's is in service, and its next one does not answer."""
    machine = world.machine()
    reasoner = "deepseek-r1:70b"
    machine.withheld = {reasoner: (f"{reasoner}: not found", "name another model")}  # type: ignore[attr-defined]
    done = engine.run(machine, site)
    assert done.failed and reasoner in done.errors[0]["message"]
    before = machine.text(CLIENT), machine.text(ENVIRONMENT), machine.units[CODER]
    machine.refuses = {NEW}  # type: ignore[attr-defined]
    done = engine.run(machine, other(site))
    assert done.failed and f"{NEW} does not answer as coder" in done.errors[0]["message"], done.errors
    assert (machine.text(CLIENT), machine.text(ENVIRONMENT), machine.units[CODER]) == before
    # What never came has nobody who could miss it: its successor is fetched as at first, in the background.
    settings = other(site)
    settings["instances"] = {"reasoner": {"model": NEW}}
    machine.refuses = set()  # type: ignore[attr-defined]
    done = engine.run(machine, settings)
    assert not done.failed and CHANGE not in done.changed, done.errors


def test_a_full_disk_is_named_where_it_is_noted_what_serves(converged: Machine, site: dict[str, Any]) -> None:
    env = converged.text(ENVIRONMENT)
    converged.full = True  # type: ignore[attr-defined]
    done = engine.run(converged, other(site))
    assert done.failed and "No space left" in done.errors[0]["message"] and "df -h /var" in done.errors[0]["fix"], done.errors
    assert converged.text(ENVIRONMENT) == env
    converged.full = False  # type: ignore[attr-defined]
    assert not engine.run(converged, other(site)).failed
