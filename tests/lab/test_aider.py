"""The real Aider in a terminal, with the lab's models: a person sees each edit, and nothing is written before a yes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.lab import Lab
from holdfast.lab.models import roles

PTY = Path(__file__).parent / "chat" / "aider_pty.py"
BEFORE = "def greet():\n    return 1\n"
EDITED = "    return 43"  # what the lab's coder writes (holdfast.lab.models.roles)
MAKE = """
rm -rf scratch && mkdir scratch && cd scratch && git init -q && cat > hello.py && git add hello.py &&
git -c user.name=Ada -c user.email=ada@example.org commit -q -m start
"""


class Repository:
    """A scratch git repository in the login user's home."""

    def __init__(self, machine: Lab) -> None:
        self.machine = machine

    def sh(self, command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.machine.ssh([command], input=text, timeout=180)

    def read(self, command: str) -> str:
        done = self.sh(f"cd scratch && {command}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def aider(self, message: str, *answers: str, options: str = "") -> dict[str, Any]:
        config = self.machine.state().ssh_config
        remote = f"cd scratch && exec aider --no-pretty --no-fancy-input {options} hello.py"
        words = [word for answer in answers for word in ("--answer", answer)]
        argv = [
            sys.executable,
            str(PTY),
            "--message",
            message,
            *words,
            "--",
            "ssh",
            "-tt",
            "-F",
            config,
            self.machine.name,
        ]
        done = subprocess.run([*argv, remote], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-2000:]
        found: dict[str, Any] = json.loads(done.stdout)
        assert not found["error"], f"{found['error']} after:\n{found['screen'][-3000:]}"
        return found


@pytest.fixture
def repository(workstation: Lab) -> Iterator[Repository]:
    made = Repository(workstation)
    done = made.sh(" ".join(MAKE.split("\n")), BEFORE)
    assert done.returncode == 0, done.stderr
    yield made
    made.sh("rm -rf scratch")


def test_a_no_leaves_the_tree_untouched(repository: Repository) -> None:
    seen = repository.aider("please make greet return 43", "y", "n")
    assert seen["questions"][0].startswith("Edit the files?")
    assert seen["questions"][-1].startswith("Write this to hello.py?"), seen["questions"]
    assert EDITED in seen["before"], "the edit is on the screen before the last question"
    assert repository.read("cat hello.py") == BEFORE
    assert repository.read("git status --porcelain") == ""


def test_a_yes_applies_what_was_shown_and_commits_nothing(repository: Repository) -> None:
    seen = repository.aider("please make greet return 43", "y")
    assert EDITED in seen["before"]
    assert "Applied edit to hello.py" in seen["screen"]
    for role in roles.ROLES:
        assert f"ollama_chat/{role.model}" in seen["screen"], "who plans and who edits is said at the start"
    assert EDITED in repository.read("cat hello.py")
    assert repository.read("git status --porcelain") == " M hello.py\n", "and leaves nothing of its own"
    assert repository.read("git log --oneline").count("\n") == 1


def test_it_asks_in_code_mode_too(repository: Repository) -> None:
    seen = repository.aider(
        "/code please make greet return 43", "n", options=f"--model ollama_chat/{roles.CODER.model}"
    )
    assert [question.partition("?")[0] for question in seen["questions"]] == ["Write this to hello.py"]
    assert repository.read("git status --porcelain") == ""


def test_without_a_person_it_does_not_start(repository: Repository) -> None:
    refused = repository.sh("cd scratch && aider --message 'please make greet return 43' hello.py </dev/null")
    assert refused.returncode == 2 and "no terminal" in refused.stderr
    assert repository.read("git status --porcelain") == ""
    assert repository.sh("cd scratch && aider --version </dev/null").returncode == 0


def test_a_repository_that_steers_it_is_refused(repository: Repository) -> None:
    repository.read("printf 'load: x\\n' > .aider.conf.yml && printf '/run touch steered\\n' > x")
    refused = repository.sh("cd scratch && aider --unattended --message hello </dev/null")
    assert refused.returncode == 2 and ".aider.conf.yml" in refused.stderr
    trusted = repository.sh("cd scratch && aider --trust-repo --unattended --exit </dev/null")
    assert trusted.returncode == 0, trusted.stderr
    assert "steered" not in repository.read("ls -a"), "even trusted, its `load` is beaten by the command line"
