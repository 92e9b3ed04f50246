"""The two servers take turns under a real systemd, in their confinement: on the cards' names, for want of cards."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SOAK
from tests.lab.holdfast_command import as_json, holdfast
from tests.waiting import until

SOURCE = (Path(__file__).parent / "turns.py").read_text("utf-8")
CODER, REASONER = "ollama@coder.service", "ollama@reasoner.service"
DIRECTORY = "/run/holdfast/lease"
HAND_OVERS = 12 * SOAK or 6
PROMPT = 256  # tokens that a prompt of these tests has at most


@pytest.fixture(scope="module")
def machine(workstation: Any) -> Iterator[Any]:
    workstation.settle()
    yield workstation
    workstation.settle()


def clients(machine: Any, do: str, **given: Any) -> Any:
    """turns.py on the workstation."""
    instances = {role: [i.port, i.model] for role, i in machine.settings.instances.items()}
    words = json.dumps({"do": do, "with": given, "instances": instances})
    return machine.python(f"import sys\nsys.argv = ['turns', {words!r}]\n{SOURCE}", timeout=300)


def one(machine: Any, role: str, tokens: int = 20, **options: Any) -> dict[str, Any]:
    return dict(clients(machine, "one", role=role, tokens=tokens, **options))


def whole(answer: dict[str, Any]) -> bool:
    return (answer["status"], answer.get("done_reason"), answer.get("eval_count")) == (200, "length", answer["tokens"])


def status(machine: Any) -> dict[str, Any]:
    """holdfast-gpu status, as the login user."""
    done = machine.ssh(["holdfast-gpu", "status", "--json"])
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def held(machine: Any) -> dict[str, tuple[str, list[str]]]:
    return {gpu["name"]: (gpu["holder"], [w["instance"] for w in gpu["waiting"]]) for gpu in status(machine)["gpus"]}


def prefer(machine: Any, *words: str) -> None:
    done = machine.ssh(["sudo", "holdfast-gpu", "prefer", *words])
    assert done.returncode == 0, done.stderr


def long(machine: Any, seconds: float) -> int:
    """A number of tokens that takes about that long here, or as many as there is room for: where the context is full, the
    server ends the generation ("truncated = 1" in its journal)."""
    assert whole(one(machine, "coder", 400))
    warm = one(machine, "coder", 400)
    most = machine.settings.instances["coder"].context - PROMPT
    return min(int(400 * seconds / warm["took"]), most)


def test_servers_take_turns_and_nothing_is_cut(machine: Any) -> None:
    tokens = long(machine, 0.3)
    found = clients(machine, "turns", hand_overs=HAND_OVERS, tokens=tokens, clients=2)
    assert len(found["order"]) > HAND_OVERS, f"the models changed places {len(found['order']) - 1} times"
    assert [a for a in found["done"] if not whole(a)] == []
    assert found["both"] == [], "two models at once on what they share"
    # The sampler sees each of them: two that never overlap because one never runs would prove nothing.
    assert found["alone"].keys() == {CODER, REASONER} and min(found["alone"].values()) > 20, found["alone"]
    # Ahead of a request are the minimum hold, what runs then on both sides, and loads; each turn may be missed once. By
    # the longest generation itself, since a slow machine is slow in all of it.
    slowest = max(a["eval_duration"] for a in found["done"]) / 1e9
    bound = 2 * (machine.settings.ollama.lease_min_hold_s + 8 * slowest)
    assert max(a["took"] for a in found["done"]) < bound, (bound, found["done"])


def test_a_long_generation_is_not_cut_and_everybody_can_see_who_waits(machine: Any) -> None:
    # Longer than `status` takes on a busy computer, which must still meet it.
    tokens, out = long(machine, 18), []
    asking = threading.Thread(target=lambda: out.extend(clients(machine, "contest", first="coder", second="reasoner",
                                                                tokens=tokens, pause=1.0)))  # fmt: skip
    asking.start()
    until(lambda: held(machine).get("left") == ("coder", ["reasoner"]), "the reasoner waits for the coder", 30)
    assert held(machine)["right"] == ("", ["reasoner"]), "a card is not kept by one who waits for another"
    gpu = next(gpu for gpu in status(machine)["gpus"] if gpu["name"] == "left")
    now = float(machine.ssh(["date", "+%s.%N"]).stdout)
    assert 0 <= now - gpu["since"] < 300 and 0 <= now - gpu["waiting"][0]["since"] < 60
    told = as_json(holdfast("status", machine.name, "--json"))["leases"]["held"]["left"]
    assert (told["holder"], [role for role, _ in told["waiting"]]) == ("coder", ["reasoner"]), "and by `status`'s own reader"
    asking.join()
    first, second = out
    assert whole(first) and whole(second), out
    assert first["took"] > machine.settings.ollama.lease_min_hold_s, "it was long enough to be cut"
    assert second["began"] + second["took"] > first["began"] + first["took"], "the second waited for the first"
    assert held(machine) == {"left": ("reasoner", []), "right": ("reasoner", [])}


def test_a_persons_preference_holds_and_expires(machine: Any) -> None:
    done = machine.ssh(["holdfast-gpu", "prefer", "coder"])
    assert done.returncode != 0 and "Fix: the same with sudo" in done.stderr
    done = machine.ssh(["sudo", "holdfast-gpu", "prefer", "nobody"])
    assert done.returncode != 0 and "coder, reasoner" in done.stderr, done.stderr
    tokens, waited = long(machine, 0.5), {}
    for first, seconds in (("coder", 6), ("none", 0)):
        prefer(machine, first, *(["--for", f"{seconds}s"] if seconds else []))
        told = status(machine)["prefer"]
        assert (told or {"instance": "none"})["instance"] == first
        # The coder is never idle; the reasoner asks once.
        found = clients(machine, "crowded", crowd="coder", single="reasoner", tokens=tokens)
        assert whole(found["single"]) and all(whole(a) for a in found["crowd"]), found
        left = told["seconds_left"] if told else 0
        if seconds:
            assert found["single"]["took"] + 3 > left, f"it had to wait for the end of {left} s: {found['single']}"
            assert status(machine)["prefer"] is None, "it is over by itself"
        waited[first] = found["single"]["took"]
    assert waited["none"] < waited["coder"], waited


def test_another_context_is_the_planned_one(machine: Any) -> None:
    planned = machine.settings.instances["coder"].context
    argv = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -A1 -x -e -c | grep -x '[0-9]*' | sort -u"
    assert whole(one(machine, "coder", num_ctx=planned * 2))
    assert machine.root(argv).split() == sorted([str(planned), str(planned * 2)]), "Ollama's word, and the real one's"
    assert whole(one(machine, "coder", num_ctx=2048))
    assert "2048" in machine.root(argv).split(), "less than planned is the client's choice"
    assert whole(one(machine, "coder"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("chown root:root {0}", "Permission denied"),
        ("rm -rf {0}", "No such file or directory"),
        ("mount -t tmpfs -o ro none {0}", "Read-only file system"),
    ],
    ids=["not theirs", "gone", "read-only"],
)
def test_a_lease_directory_that_cannot_be_written_is_an_error(harm: str, words: str, machine: Any) -> None:
    """…and an apply puts it right; nobody hangs."""
    assert whole(one(machine, "reasoner"))
    machine.root(harm.format(DIRECTORY))
    try:
        told = one(machine, "coder")
        assert told["status"] == 500 and DIRECTORY in told["error"] and "Fix: " in told["error"], told
        assert words in told["error"], told
    finally:
        machine.root(f"umount {DIRECTORY} 2>/dev/null || true")
        machine.settled = False
        changed = machine.apply().changed
    assert ("Ollama | Keep the leases to the instances" in changed) == ("mount" not in harm), changed
    assert whole(one(machine, "coder")) and whole(one(machine, "reasoner"))


def test_after_that_an_apply_has_nothing_to_do(machine: Any) -> None:
    assert machine.apply().changed == []


def test_a_restart_leaves_nothing_behind(machine: Any) -> None:
    """Of the holder and of one who waits, in the middle of both; and a kill of everything at once."""
    for end in ("systemctl restart ollama@coder ollama@reasoner", "systemctl kill -s KILL ollama@coder ollama@reasoner"):
        tokens, out = long(machine, 20), []
        asking = threading.Thread(target=lambda tokens=tokens, out=out: out.extend(
            clients(machine, "contest", first="coder", second="reasoner", tokens=tokens, pause=1.0)))  # fmt: skip
        asking.start()
        until(lambda: held(machine).get("left") == ("coder", ["reasoner"]), "the reasoner waits for the coder", 30)
        machine.root(end)
        asking.join()
        assert [a["status"] == 200 for a in out] == [False, False], "both were ended with their servers"
        until(lambda: held(machine) == {"left": ("", []), "right": ("", [])}, "nobody holds anything", 30)
        until(lambda: whole(one(machine, "reasoner")) and whole(one(machine, "coder")), "both answer", 60)
