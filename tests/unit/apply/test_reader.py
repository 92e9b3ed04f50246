"""The reader of facts, as a process of this computer instead of a host's."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from paramiko import ChannelException

from holdfast.apply.channel import LocalChannel, SshChannel
from holdfast.apply.reader import Reader, command
from holdfast.operations.remote import READER, PythonFact


class Starts:
    """Counts how often a reader was started; ``before`` stands before the command."""

    def __init__(self, before: str = "") -> None:
        self.before, self.channels = before, list[LocalChannel]()
        self.apply_id = uuid.uuid4().hex

    def __call__(self) -> LocalChannel:
        self.channels.append(LocalChannel(self.before + command(self.apply_id, "")))
        return self.channels[-1]


@pytest.fixture
def starts() -> Iterator[Starts]:
    made = Starts()
    yield made
    for channel in made.channels:
        channel.end(10)


def read_processes(word: str) -> Any:
    """Runs on the host."""
    import os

    had = globals().get("left", "nothing")
    globals()["left"] = "something"
    return {"reader": os.getppid(), "me": os.getpid(), "word": word, "had": had, "mark": os.environ["HOLDFAST_APPLY"]}


def read_nothing() -> Any:
    """Runs on the host."""
    raise OSError("no such thing")


def read_much(size: int) -> Any:
    """Runs on the host."""
    import subprocess

    print("a word that is not the fact's")
    subprocess.run(["sh", "-c", "echo heard: $(cat)"], check=True)
    return "ä" * size


class Processes(PythonFact):
    reader = staticmethod(read_processes)


class Nothing(PythonFact):
    reader = staticmethod(read_nothing)


class Much(PythonFact):
    reader = staticmethod(read_much)


class Host:
    """What PythonFact.read asks of pyinfra's host; its own way of reading answers "pyinfra's"."""

    def __init__(self, reader: Any) -> None:
        self.connector_data = {READER: reader} if reader else {}

    def get_fact(self, cls: Any, _stdin: str) -> str:
        return "pyinfra's"


def test_every_fact_is_read_by_one_process_and_knows_nothing_of_the_one_before(starts: Starts) -> None:
    host = Host(Reader(starts))
    first, second = Processes.read(host, word="a'\n\"b"), Processes.read(host, word="c")
    assert (first["word"], second["word"], first["had"], second["had"]) == ("a'\n\"b", "c", "nothing", "nothing")
    assert first["reader"] == second["reader"] != os.getpid() and first["me"] != second["me"]
    assert len(starts.channels) == 1 and first["mark"] == starts.apply_id


def test_a_long_answer_is_whole_and_stands_after_what_else_was_printed(starts: Starts) -> None:
    assert Much.read(Host(Reader(starts)), size=1_000_000) == "ä" * 1_000_000


def test_a_fact_that_fails_is_read_by_pyinfra_which_tells_why_and_the_next_by_the_same_reader(starts: Starts) -> None:
    host = Host(Reader(starts))
    assert Nothing.read(host) == "pyinfra's"
    assert Processes.read(host, word="x")["word"] == "x"
    assert len(starts.channels) == 1


def test_a_reader_that_has_gone_is_started_again(starts: Starts) -> None:
    """As after a reboot."""
    host = Host(Reader(starts))
    first = Processes.read(host, word="x")["reader"]
    os.kill(first, signal.SIGKILL)
    starts.channels[0].end(10)
    read = [Processes.read(host, word="x") for _ in range(2)]
    assert [found["reader"] == first for found in read if found != "pyinfra's"][-1:] == [False]
    assert len(starts.channels) == 2


def test_a_question_that_was_cut_off_leaves_no_answer_to_the_next_one(starts: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(starts)
    assert reader.read("print(1)") == "1\n"

    def cut(channel: LocalChannel, seconds: float) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalChannel, "receive", cut)
        reader.read("print(2)")
    assert reader.read("print(3)") == "3\n"


def test_without_python_or_without_a_reader_pyinfra_reads() -> None:
    bare = Starts("PATH=/nonexistent; ")
    assert Processes.read(Host(Reader(bare)), word="x") == "pyinfra's"
    assert len(bare.channels) == 1, "the control: it was tried"
    bare.channels[0].end(10)
    assert Processes.read(Host(None), word="x") == "pyinfra's"


def test_what_does_not_start_as_it_should_is_not_waited_for_twice() -> None:
    """A login shell that says something first."""
    chatty = Starts("echo Welcome; ")
    reader = Reader(chatty)
    assert (reader.read("print(1)"), reader.read("print(1)")) == (None, None)
    assert len(chatty.channels) == 1
    chatty.channels[0].end(10)


class Limited:
    """A connection on which sshd opens no further session: MaxSessions in sshd_config(5)."""

    def __init__(self) -> None:
        self.asked = 0

    def open_session(self) -> Any:
        self.asked += 1
        raise ChannelException(2, "Connect failed")


def test_where_sshd_refuses_the_readers_session_pyinfra_reads() -> None:
    transport = Limited()
    host = Host(Reader(lambda: SshChannel(transport, "unused")))
    assert [Processes.read(host, word="x") for _ in range(2)] == ["pyinfra's"] * 2
    assert transport.asked == 1, "asked once, and not with every fact again"


def test_the_reader_ends_with_its_connection(starts: Starts) -> None:
    reader = Reader(starts)
    assert json.loads(str(reader.read("print(1)"))) == 1
    reader.close()
    starts.channels[0].end(10)
    assert not starts.channels[0].alive()
