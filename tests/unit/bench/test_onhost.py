"""The program that runs on the machine, against servers and an nvidia-smi that are fakes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bench.fake_ollama import FakeOllama, words
from tests.unit.bench.machines import CHILD, JOURNAL, LEFT, PLANNED, card
from tests.waiting import until

from holdfast.bench import proofs, session
from holdfast.bench.onhost import compare, machine, main
from holdfast.bench.onhost.client import Failed, question
from holdfast.bench.program import program
from holdfast.errors import HoldfastError
from holdfast.progress import QUIET

MODEL = "qwen2.5-coder:32b"
PYTHON = [sys.executable, "-I", "-S", "-"]


class Told(list[dict[str, Any]]):
    """What was told on the way."""

    def __call__(self, event: str, **data: Any) -> None:
        self.append({"event": event, **data})


def test_prompts_have_the_length_and_nothing_in_common() -> None:
    ollama = FakeOllama(MODEL)
    found = main.run(words(coder=ollama.job()), told := Told())
    coder = found["instances"]["coder"]
    assert coder["problem"] == "" and coder["version"] == "0.0.0-fake" and ollama.loads == 1
    assert [run["length"] for run in coder["runs"]] == [128, 256] * 5
    assert {run["length"]: run["prompt_tokens"] for run in coder["runs"]} == {128: 128, 256: 256}
    assert all(run["tokens"] == 16 and 0 < run["first_s"] < run["wall_s"] for run in coder["runs"])
    # The cache of a prompt's beginning would make its time a lie.
    assert all(a[:15] != b[:15] for a, b in itertools.combinations(ollama.prompts, 2))
    assert [event["n"] for event in told if event["event"] == "step"] == list(range(1, 11))


def test_words_are_of_one_length() -> None:
    assert {len(word) for word in question(500)["prompt"].split("\n")[0].split()} == {4}


def test_who_does_not_answer_is_told_and_the_others_go_on() -> None:
    broken, well = FakeOllama(MODEL, fail="out of memory"), FakeOllama("deepseek-r1:70b")
    job = words(coder=broken.job(), reasoner=well.job()) | {"pairs": [["coder", "reasoner"]]}
    found = main.run(job, Told())
    assert "out of memory" in found["instances"]["coder"]["problem"] and not found["instances"]["reasoner"]["problem"]
    assert found["hand_overs"] == []


def test_hand_overs_go_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_IDLE_S", 0.0)
    one, other = FakeOllama("one:1b"), FakeOllama("other:1b")
    found = main.run(words(coder=one.job(), reasoner=other.job()) | {"pairs": [["coder", "reasoner"]]}, Told())
    ways = [(seen["from"], seen["to"]) for seen in found["hand_overs"]]
    assert ways == [("coder", "reasoner"), ("reasoner", "coder")] * 2
    assert all(seen["first_s"] > 0 for seen in found["hand_overs"])


def test_a_hand_over_that_fails_loses_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_IDLE_S", 0.0)
    one, other = FakeOllama("one:1b"), FakeOllama("other:1b")

    def ends(event: str, **data: Any) -> None:
        if event == "phase" and data["name"] == "hand-overs":
            other.fail = "out of memory"

    found = main.run(words(coder=one.job(), reasoner=other.job()) | {"pairs": [["coder", "reasoner"]]}, ends)
    assert found["instances"]["coder"]["runs"] and found["instances"]["reasoner"]["runs"]
    (problem,) = found["problems"]
    assert "hand-over between coder and reasoner" in problem and "out of memory" in problem


def test_an_instance_that_hangs_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(main, "QUICK_S", 0.2)
        hung = {**FakeOllama(MODEL).job(), "port": silent.getsockname()[1]}
        found = main.run(words(coder=hung, reasoner=FakeOllama("deepseek-r1:70b").job()), Told())
    assert found["instances"]["coder"]["problem"] == "no answer to /api/version within 0.2 s"
    assert found["instances"]["reasoner"]["runs"]


@pytest.mark.parametrize("leave", ["pipe", "socket", "SIGINT", "SIGTERM", "SIGHUP"])
def test_it_ends_with_who_listens_and_frees_the_server(leave: str) -> None:
    """In the midst of an answer that would take minutes, over a pipe and over the socket pair of an SSH server."""
    ollama = FakeOllama(MODEL, pause_s=1.0)
    if leave == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        ours, theirs = os.pipe()
    child = subprocess.Popen(PYTHON, stdin=subprocess.PIPE, stdout=theirs, text=True)
    os.close(theirs)
    assert child.stdin
    try:
        child.stdin.write(program(words(coder=ollama.job()) | {"tokens": 600}))
        child.stdin.close()
        until(lambda: ollama.answering, "no answer was begun")
        assert Path(f"/proc/{child.pid}/comm").read_text() == "holdfast-bench\n", "an apply knows it by that"
        if leave in ("pipe", "socket"):
            os.close(ours)
        else:
            child.send_signal(getattr(signal, leave))
        assert child.wait(30) == 143
        until(lambda: not ollama.answering, "the answer goes on though nobody waits for it")
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first in PATH, with a FAKE nvidia-smi and journalctl."""
    rows = f"{card(LEFT, PLANNED['left'])}"
    fakes = {
        "nvidia-smi": f"""case $1 in
*compute-apps*) echo '{LEFT}, {CHILD}, 19500, llama-server';;
*clocks_event*) echo 'Field "clocks_event_reasons.active" is not a valid field to query.'; exit 2;;
*throttle*) echo '{LEFT}, 0x0000000000000004';;
*) echo '{rows}';;
esac""",
        "journalctl": f"cat <<'END'\n{JOURNAL}some words of a person that are nobody's business\nEND",
        "sudo": 'test "$1" = -n && shift && exec "$@"',
    }
    for name, script in fakes.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "processes", lambda unit: {CHILD: ["llama-server", "--model", "x"]})
    return tmp_path


def test_a_card_is_looked_at_while_tokens_come(programs: Path) -> None:
    ollama = FakeOllama(MODEL)
    job = words(coder=ollama.job(gpus=["left"], lengths=[128])) | {"sudo": ["sudo", "-n"], "tokens": 100}
    found = main.run(job, Told())["instances"]["coder"]
    held = proofs.proofs(found, MODEL, {"left": PLANNED["left"]})
    assert [proof.holds for proof in held] == [True, True, True], held
    assert found["looks"] and found["looks"][0]["events"]["text"].strip().endswith("0x0000000000000004")
    assert "person" not in found["journal"]["text"]


def test_the_journal_is_read_from_the_second_in_which_the_load_began(programs: Path) -> None:
    """The line comes at a load's beginning: rounded to the next second it would be lost."""
    (programs / "journalctl").write_text('#!/bin/sh\necho "offloaded 65/65 layers to GPU $*"\n')
    assert "--since=@1700000000 " in machine.journal("ollama@coder.service", 1700000000.9, [])["text"]


def test_a_journal_that_may_not_be_read_is_no_proof(programs: Path) -> None:
    (programs / "sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n")
    found = machine.journal("ollama@coder.service", 0, ["sudo", "-n"])
    assert proofs.by_journal(found) == proofs.Proof("journal", None, "sudo: a password is required")


def test_somebodys_answer_in_the_making_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "working", lambda unit: 0.97)
    ollama = FakeOllama(MODEL)
    found = main.run(words(coder=ollama.job()), Told())
    assert found["busy"] == {"coder": 0.97} and found["instances"] == {} and ollama.prompts == []
    forced = main.run(words(coder=ollama.job()) | {"force": True}, Told())
    assert forced["busy"] and forced["instances"]["coder"]["runs"]


def test_a_process_that_works_is_seen_and_one_that_waits_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass", "--model"])
    idle = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "--model"])
    try:
        for process, works in ((busy, True), (idle, False)):
            monkeypatch.setattr(machine, "processes", lambda unit, pid=process.pid: {pid: ["--model"]})
            # Not at the first look: an interpreter that starts works, too, and a busy machine lets nobody work for a while.
            until(lambda works=works: (machine.working("unit", 0.4) > main.BUSY) is works)  # type: ignore[misc]
        monkeypatch.setattr(machine, "processes", lambda unit: {busy.pid: [], idle.pid: []})
        others = machine.Others("unit")
        assert {busy.pid, idle.pid} <= others.own
        monkeypatch.setattr(machine, "processes", lambda unit: {})
        monkeypatch.setattr(machine, "_descendants", lambda pid: [])
        strangers = machine.Others("unit")
        with pytest.raises(subprocess.TimeoutExpired):
            busy.wait(0.5)
        assert strangers.share() > others.share()
    finally:
        for process in (busy, idle):
            process.kill()
            process.wait()


def test_the_program_runs_by_itself_and_is_listened_to(tmp_path: Path) -> None:
    ollama = FakeOllama(MODEL)
    found = session.measure(PYTHON, words(coder=ollama.job()), QUIET, name="box", hint="ssh box")
    assert len(found["instances"]["coder"]["runs"]) == 10 and "threads" in found["processor"]
    text = program(words(coder=ollama.job()))
    assert "pydantic" not in text
    done = subprocess.run(PYTHON, input=text, capture_output=True, text=True, cwd=tmp_path, env={}, check=False)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["event"] == "result", done.stderr


def test_a_machine_that_says_nothing_is_an_error_with_its_last_words() -> None:
    with pytest.raises(HoldfastError, match="No route to host") as caught:
        session.measure(["sh", "-c", "echo No route to host >&2; exit 255"], words(), QUIET, name="box", hint="ssh box")
    assert "ssh box" in caught.value.fix
    with pytest.raises(HoldfastError, match="is not installed here"):
        session.measure(["/nonexistent/ssh"], words(), QUIET, name="box", hint="")


def test_a_login_shells_greeting_is_no_result() -> None:
    lines = ["Welcome!\n", "[1, 2]\n", '{"event": "phase", "name": "coder"}\n', '{"event": "done", "name": "coder"}\n']
    assert session.listen(lines, QUIET) is None
    assert session.listen([*lines, '{"event": "result", "data": {"x": 1}}\n'], QUIET) == {"x": 1}


def test_llama_servers_words_are_those_of_the_real_one() -> None:
    ours = "/usr/local/lib/holdfast/holdfast_onhost/lease/supervisor.py"
    supervisor = ["python3", "-IS", ours, "--model", "m", "--host", "127.0.0.1"]
    real = ["/opt/llama-server", "--model", "m", "--port", "1", "--host", "/run/llama.sock"]
    assert compare.command_of({1: ["ollama", "serve"], 2: supervisor, 3: real}, ours) == real
    with pytest.raises(Failed, match="2 llama-servers"):
        compare.command_of({2: supervisor, 3: real}, "/elsewhere/supervisor.py")
    with pytest.raises(Failed, match="0 llama-servers"):
        compare.command_of({1: ["ollama", "serve"]}, ours)


def test_an_environment_file_is_read_as_systemd_does(tmp_path: Path) -> None:
    (tmp_path / "coder.env").write_text('# A=comment\nHOME=/x\nHOLDFAST_GPUS="left=01 right=02"\n\nLLAMA_ARG_FIT=off\n')
    found = compare.read_environment(str(tmp_path / "coder.env"))
    assert found == {"HOME": "/x", "HOLDFAST_GPUS": "left=01 right=02", "LLAMA_ARG_FIT": "off"}
