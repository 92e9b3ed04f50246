"""The join key goes from this computer's environment into one standard input, and nowhere else that can be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fake import world

from holdfast.paths import ROOT
from holdfast.settings.loader import profiles


def test_the_key_is_in_no_line_and_no_log(site: dict[str, Any], tmp_path: Path) -> None:
    """The real pyinfra at its most talkative."""
    file, events = tmp_path / "host.json", tmp_path / "events"
    file.write_text(json.dumps({"site": site, **profiles()["dual_3090"]}))
    with events.open("w") as listening:
        env = {**os.environ, "HOLDFAST_EVENTS": str(listening.fileno()), "HOLDFAST_DIFF": "1", "PYTHONPATH": "src:."}
        done = subprocess.run(
            [sys.executable, "-m", "tests.fake.cli", str(file), "-y", "-vvv", "--debug"],
            cwd=ROOT, env=env, capture_output=True, text=True, pass_fds=[listening.fileno()], timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said, _, last = done.stdout.rstrip().rpartition("\n")
    heard = json.loads(last)["heard"]

    # Controls: the key did arrive, by the one way meant for it; and each of these texts would show it.
    assert [command for command, stdin in heard if world.KEY in stdin] == [
        command for command, _ in heard if "--auth-key=file:/dev/stdin" in command
    ]
    assert sum(world.KEY in stdin for _, stdin in heard) == 1
    assert "--auth-key=file:/dev/stdin" in said + done.stderr, "pyinfra shows the commands it runs"
    assert "Join the tailnet" in events.read_text()

    for name, text in {
        "a command line": "\n".join(command for command, _ in heard),
        "pyinfra's stdout": said, "pyinfra's stderr": done.stderr, "an event": events.read_text(),
    }.items():  # fmt: skip
        assert world.KEY not in text, name


def test_a_refused_key_is_not_quoted(site: dict[str, Any]) -> None:
    """The control server's own words may hold it."""
    from tests.fake import engine

    machine = world.machine(python=False)
    machine.keys = ()
    done = engine.run(machine, site)
    assert done.failed and "invalid key" in done.errors[0]["message"]
    assert any(world.KEY in stdin for _, stdin in machine.heard)
    assert world.KEY not in json.dumps(done.events)


def test_open_webuis_secrets_stay_on_the_machine(site: dict[str, Any]) -> None:
    """They are made there: no command, in either direction, carries them."""
    from tests.fake import engine

    machine = world.machine(python=False)
    answers: list[str] = []
    right = machine.run

    def run(command: str, stdin: str | None) -> Any:
        ok, output = right(command, stdin)
        answers.append(output.stdout)
        return ok, output

    machine.run = run  # type: ignore[method-assign]
    assert not engine.run(machine, site).failed
    assert "secret-1" in (machine.text("/etc/holdfast/open-webui/secret.env") or "")
    everything = "\n".join([*answers, *(f"{command}\n{stdin}" for command, stdin in machine.heard)])
    assert "admin-password" in everything, "the probe sees"
    assert "secret-1" not in everything and "password-1" not in everything
