"""/usr/local/bin/aider, with a program in Aider's place that writes down how it was called."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.components.aider import files

FAKE = """#!/bin/sh
{ for word; do printf '%s\\n' "$word"; done; } > "$HOME/called"
env > "$HOME/environment"
"""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.home, self.repo = folder / "home", folder / "home" / "work" / "repo"
        self.repo.mkdir(parents=True)
        (self.repo / ".git").mkdir()
        fake, self.program = folder / "python", folder / "aider"
        fake.write_text(FAKE)
        fake.chmod(0o755)
        self.program.write_text(files.wrapper(str(fake), "/launch.py", "/etc/holdfast/aider"))

    def run(self, *words: str, terminal: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        master, slave = pty.openpty()
        try:
            return subprocess.run(
                [sys.executable, "-I", "-S", str(self.program), *words], stdin=slave if terminal else subprocess.DEVNULL,
                capture_output=True, text=True, cwd=cwd or self.repo, env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
            )  # fmt: skip
        finally:
            os.close(master)
            os.close(slave)

    def called(self) -> list[str]:
        return (self.home / "called").read_text().splitlines()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_holdfasts_settings_come_first_and_the_users_words_last(bench: Bench) -> None:
    assert bench.run("hello.py", "--auto-commits").returncode == 0
    words = bench.called()
    assert words[:2] == ["-I", "/launch.py"]
    assert words[3] == "ask"
    for pair in (("--config", "/etc/holdfast/aider/aider.conf.yml"), ("--env-file", "/etc/holdfast/aider/aider.env"),
                 ("--load", "/dev/null")):  # fmt: skip
        assert words[words.index(pair[0]) + 1] == pair[1]
    assert {"--no-auto-test", "--no-auto-commits", "--no-analytics", "--no-suggest-shell-commands"} < set(words)
    assert words.index("--no-auto-commits") < words.index("--auto-commits")
    assert words[-2:] == ["hello.py", "--auto-commits"]
    environment = (bench.home / "environment").read_text().splitlines()
    assert {"LITELLM_LOCAL_MODEL_COST_MAP=True", "NO_PROXY=*", "no_proxy=*"} <= set(environment)


def test_its_state_stays_out_of_the_repository(bench: Bench) -> None:
    inner = bench.repo / "src"
    inner.mkdir()
    assert bench.run().returncode == 0
    tags, chat = bench.called()[2], bench.called()[bench.called().index("--chat-history-file") + 1]
    state = Path(chat).parent
    assert Path(tags).parent == state and state.parent == bench.home / ".local/state/aider"
    assert state.stat().st_mode & 0o777 == 0o700
    assert bench.run(cwd=inner).returncode == 0
    assert bench.called()[2] == tags, "a folder of the repository has the repository's"
    assert sorted(p.name for p in bench.repo.iterdir()) == [".git", "src"]


@pytest.mark.parametrize("words", [(), ("--message", "do it"), ("--yes-always",)])
def test_without_a_terminal_it_must_be_told_so_by_name(bench: Bench, words: tuple[str, ...]) -> None:
    refused = bench.run(*words, terminal=False)
    assert refused.returncode == 2 and "no terminal" in refused.stderr and "\nFix: " in refused.stderr
    assert not (bench.home / "called").exists()
    assert bench.run("--unattended", *words, terminal=False).returncode == 0
    assert bench.called()[3] == "unasked" and "--unattended" not in bench.called()


def test_version_and_help_need_no_terminal(bench: Bench) -> None:
    assert bench.run("--version", terminal=False).returncode == 0
    shown = bench.run("--help", terminal=False)
    assert shown.returncode == 0 and "--trust-repo" in shown.stdout and bench.called()[-1] == "--help"


def settings_file(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("load: x\n")


def dotenv(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / ".env").write_bytes(text.encode())


HOSTILE: dict[str, Callable[[Path], object]] = {
    ".aider.conf.yml": settings_file(".aider.conf.yml"),
    ".aider.model.settings.yml": settings_file(".aider.model.settings.yml"),
    ".aider.model.metadata.json": settings_file(".aider.model.metadata.json"),
    "OLLAMA_API_BASE": dotenv("A=1\nOLLAMA_API_BASE=http://10.0.0.1\n"),
    "AIDER_LOAD": dotenv("export AIDER_LOAD = x\n"),
    "'AIDER_TEST_CMD'": dotenv("'AIDER_TEST_CMD'='touch x'\n"),
    "aider_load": dotenv("aider_load=x"),
    "HTTP_PROXY after a form feed": dotenv("A=1\x0cHTTP_PROXY=http://10.0.0.1\r"),
    "https_proxy": dotenv("https_proxy=http://10.0.0.1"),
    "LITELLM_X": dotenv("LITELLM_X=1"),
    "dangling": lambda folder: (folder / ".aider.conf.yml").symlink_to("/nowhere"),
    "fifo": lambda folder: os.mkfifo(folder / ".env"),
    "device": lambda folder: (folder / ".env").symlink_to("/dev/zero"),
    "huge": lambda folder: (folder / ".env").write_bytes(b"A=1\n" * 300_000),
}


@pytest.mark.parametrize(
    "name, place", [*((name, "root") for name in HOSTILE), (".aider.conf.yml", "inner"), ("OLLAMA_API_BASE", "inner")]
)
def test_a_repository_that_would_steer_aider_is_refused(bench: Bench, name: str, place: str) -> None:
    inner = bench.repo / "src"
    inner.mkdir()
    HOSTILE[name](bench.repo if place == "root" else inner)
    refused = bench.run(cwd=inner)
    assert refused.returncode == 2 and "would steer Aider" in refused.stderr and "\nFix: " in refused.stderr
    assert not (bench.home / "called").exists()
    assert bench.run("--trust-repo", cwd=inner).returncode == 0
    assert "--trust-repo" not in bench.called()


def test_an_ordinary_env_file_is_no_reason(bench: Bench) -> None:
    (bench.repo / ".env").write_text(
        "DATABASE_URL=postgres://x\nMY_AIDER_NOTE=1\nPROXY_PORT=3\n# OLLAMA is nice\nX=AIDER_\n"
    )
    assert bench.run().returncode == 0


def test_the_users_own_home_is_the_users(bench: Bench) -> None:
    (bench.home / ".aider.conf.yml").write_text("dark-mode: true\n")
    (bench.home / ".git").mkdir()
    assert bench.run(cwd=bench.home).returncode == 0


def test_a_missing_environment_says_what_to_do(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "python").unlink()
    failed = bench.run()
    assert failed.returncode == 2 and "\nFix: ./holdfast up" in failed.stderr


STUBS = {
    "aider/__init__.py": "",
    "aider/repomap.py": "class RepoMap:\n    TAGS_CACHE_DIR = '.aider.tags.cache.v4'\n",
    "aider/coders/__init__.py": "",
    "aider/coders/base_coder.py": "class Coder:\n    def prepare_to_edit(self, edits):\n        return edits\n",
    "aider/main.py": """
import json, sys
from aider.coders.base_coder import Coder
from aider.repomap import RepoMap
class IO:
    asked = []
    def confirm_ask(self, question, default="y"):
        IO.asked.append([question, default])
        return "yes" in sys.argv
    def tool_output(self, text): pass
def main():
    coder = Coder()
    coder.io, coder.dry_run = IO(), "--dry-run" in sys.argv
    edits = [("b.py", 1), ("a.py", 2), ("a.py", 3), (None, "ls")]
    print(json.dumps({"argv": sys.argv, "tags": RepoMap.TAGS_CACHE_DIR, "asked": IO.asked,
                      "written": len(coder.prepare_to_edit(edits)), "shell": len(coder.prepare_to_edit([(None, "ls")]))}))
""",
}


@pytest.mark.parametrize(
    "manner, words, asked, written",
    [
        ("ask", ["yes"], [["Write this to a.py, b.py?", "n"]], 4),
        ("ask", ["no"], [["Write this to a.py, b.py?", "n"]], 0),
        ("ask", ["no", "--dry-run"], [], 4),
        ("unasked", ["no"], [], 4),
    ],
)
def test_no_edit_is_written_before_a_yes(
    tmp_path: Path, manner: str, words: list[str], asked: list[list[str]], written: int
) -> None:
    for name, text in {**STUBS, "launch.py": files.render("aider/opt/aider/launch.py.j2", version="0")}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-S", str(tmp_path / "launch.py"), "/tags", manner, *words],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    got = json.loads(done.stdout)
    assert (got["asked"], got["written"]) == (asked, written)
    assert (got["argv"], got["tags"]) == (["aider", *words], "/tags")
