"""A reboot is over when another boot answers: through connections that die in every way, never of this computer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.clock import Clock

from holdfast.operations import reboot


class Client:
    closed = 0

    def close(self) -> None:
        Client.closed += 1
        raise OSError("already gone")


class Host:
    """A host whose connection follows a script: one word for each try to connect."""

    name = "gpu-box"

    def __init__(self, *tries: str, refuses: bool = False, cut: bool = False, connector: str = "SSHConnector") -> None:
        self.connector = type(connector, (), {})()
        self.connector.client = Client()
        self.connector_data = {"sudo_askpass_path__/tmp": "/tmp/x/askpass", "other": 1}
        self.current_op_global_arguments = {"_sudo": True, "name": "x"}
        self.tries, self.boot, self.connected, self.refuses = list(tries), "one", True, refuses
        self.cut = cut
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.said: list[str] = []

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, Any]:
        line = command.get_raw_value()
        self.heard.append((line, arguments))
        if line.startswith("cat"):
            if self.boot == "dying":
                raise EOFError
            return True, SimpleNamespace(stdout=self.boot, stderr="")
        said = ["Operation inhibited"] if self.refuses else []
        return not (self.refuses or self.cut), SimpleNamespace(stdout_lines=[], stderr_lines=said)

    def disconnect(self) -> None:
        raise OSError("the pipe of the ProxyCommand is broken")

    def connect(self, show_errors: bool = True) -> None:
        word = self.tries.pop(0) if self.tries else "away"
        if word == "raises":
            raise EOFError
        self.connected = word != "away"
        self.boot = word

    def log_styled(self, text: str, **_: Any) -> None:
        self.said.append(text)


STATE = SimpleNamespace(print_output=False, print_input=False)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reboot, "time", clock)
    return clock


def test_it_waits_for_another_boot() -> None:
    host = Host("away", "one", "raises", "dying", "two")
    Client.closed = 0
    assert not reboot.done(host)
    assert reboot.perform(STATE, host, 600) and host.tries == [] and host.boot == "two"
    assert [line for line, _ in host.heard if "reboot" in line] == ["systemctl --no-block reboot"]
    # Once at the beginning, and each time that the old boot, or nobody, has answered.
    assert Client.closed == 3
    assert host.connector_data["sudo_askpass_path__/tmp"] is None, "what was agreed about sudo is of the old boot"
    assert host.connector_data["other"] == 1 and reboot.done(host)
    for line, arguments in host.heard:
        assert ("_sudo" in arguments) == ("reboot" in line) and "name" not in arguments


def test_a_reboot_that_is_quicker_than_its_commands_answer_is_none_the_less_one() -> None:
    host = Host("away", "one", "two", cut=True)
    assert reboot.perform(STATE, host, 600) and host.boot == "two" and host.said == []
    host = Host(cut=True)
    assert not reboot.perform(STATE, host, 60) and "did not come back" in host.said[0]


def test_what_does_not_say_which_boot_it_is_is_not_rebooted() -> None:
    host = Host("two")
    host.boot = "dying"
    assert not reboot.perform(STATE, host, 60)
    assert "does not say which boot" in host.said[0] and not [line for line, _ in host.heard if "reboot" in line]


def test_it_gives_up(clock: Clock) -> None:
    host = Host()
    assert not reboot.perform(STATE, host, 60)
    assert clock.now >= 60 and "did not come back within 60 s" in host.said[0] and "Fix:" in host.said[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Host("two", refuses=True), "the reboot was refused: Operation inhibited"),
        (lambda: Host("two", connector="LocalConnector"), "cannot reboot itself"),
    ],
)
def test_what_is_not_rebooted(make: Callable[[], Host], words: str) -> None:
    host = make()
    assert not reboot.perform(STATE, host, 60)
    assert words in host.said[0] and host.tries == ["two"] and host.connected
