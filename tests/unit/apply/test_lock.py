"""The lock's program, run for real in folders and processes of this computer; its words; the login check."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from holdfast.apply import lock, login
from holdfast.apply.channel import SCRIPTS, LocalChannel


def holder(tmp_path: Path, apply_id: str, who: str = "ada@laptop (process 1)") -> LocalChannel:
    """hold.sh with a lock file of the test's own."""
    line = lock.command(apply_id, who, "").replace("/run/holdfast-apply.lock", str(tmp_path / "lock"))
    return LocalChannel(line)


def sleeper(apply_id: str) -> subprocess.Popen[bytes]:
    """As pyinfra starts it: the shell has the mark in its argv, what it starts in its environment."""
    line = f"export HOLDFAST_APPLY={apply_id} && while :; do sleep 600; done"
    return subprocess.Popen(["sh", "-c", line], start_new_session=True)


def test_one_at_a_time_and_the_second_is_told_who_and_since_when(tmp_path: Path) -> None:
    first = holder(tmp_path, "a")
    assert first.receive(10) == "mine"
    second = holder(tmp_path, "b")
    answer = second.receive(10) or ""
    assert answer.startswith("held\t")
    held = lock.Holder.of(answer.partition("\t")[2])
    error = held.error("gpu-box")
    assert "ada@laptop (process 1)" in error.message
    assert "UTC" in error.message
    assert f"sudo kill {held.pid}" in error.fix
    first.send("done")
    assert first.receive(10) == "freed"
    third = holder(tmp_path, "c")
    assert third.receive(10) == "mine"
    third.close()
    assert third.receive(10) == "freed"


@pytest.mark.parametrize("how", ["stop", "lost", "done"])
def test_what_an_apply_left_running_is_ended_unless_it_ended_by_itself(tmp_path: Path, how: str) -> None:
    """`done` is the control: the process is there, and it is found because of its mark only."""
    apply_id = uuid.uuid4().hex
    ours, other = sleeper(apply_id), sleeper(uuid.uuid4().hex)
    try:
        channel = holder(tmp_path, apply_id)
        assert channel.receive(10) == "mine"
        if how == "lost":
            channel.close()
        else:
            channel.send(how)
        assert channel.receive(20) == "freed"
        if how != "done":
            ours.wait(10)
        assert (ours.poll() is None) == (how == "done")
        assert other.poll() is None
    finally:
        for process in (ours, other):
            if process.poll() is None:
                os.killpg(process.pid, 9)
            process.wait(10)


def test_an_empty_or_odd_lock_file_is_still_told() -> None:
    assert lock.Holder.of("").who == "somebody"
    assert lock.Holder.of("ada@x\t2026\tnot a pid").pid == ""
    assert "kill" not in lock.Holder.of("").error("h").fix


def test_the_password_comes_back_through_the_fifo_and_nowhere_else(tmp_path: Path) -> None:
    secret = "p w'd \"$x\\ Canary"
    channel = LocalChannel(f"exec sh {SCRIPTS / 'askpass.sh'} {tmp_path}")
    channel.send(secret)
    program = channel.receive(10)
    assert program is not None
    # Sudo may ask several times, and several at once.
    asked = [subprocess.Popen([program], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert {process.communicate(timeout=20)[0] for process in asked} == {secret + "\n"}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in written] == ["askpass"]
    assert "Canary" not in written[0].read_text()
    assert (written[0].stat().st_mode & 0o777, written[0].parent.stat().st_mode & 0o777) == (0o700, 0o700)
    channel.close()
    channel.receive(10)
    assert list(tmp_path.iterdir()) == []


def test_the_login_check_reads_past_a_talkative_shell_and_refuses_nonsense() -> None:
    assert login.parse(["Welcome!", "ada", "free", "/home/ada/.cache/holdfast/tmp"]).sudo == "free"
    for lines in ([], ["ada", "perhaps", "/tmp"], ["ada", "free", "relative"]):
        with pytest.raises(FactProcessError):
            login.parse(lines)


def test_the_login_check_runs_here(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", "-c", login.SOURCE], capture_output=True, text=True, env=env, check=True)
    account = login.parse(done.stdout.splitlines())
    assert account.sudo == "root" if os.getuid() == 0 else account.sudo in ("missing", "free", "password")
    assert Path(account.tmp).stat().st_mode & 0o777 == 0o700


def test_pyinfra_still_has_the_key_by_which_it_takes_our_askpass_program() -> None:
    """A private name of pyinfra's: when it goes, the password would stand in an argv on the host again."""
    from pyinfra.connectors import util

    from holdfast.apply.connection import askpass_key

    class Host:
        def __init__(self) -> None:
            self.connector_data = {askpass_key("/t"): "/t/askpass"}

        def run_shell_command(self, *_: object) -> None:
            raise AssertionError("pyinfra makes an askpass file of its own")

    assert util._ensure_sudo_askpass_set_for_host(Host(), temp_dir="/t") == "/t/askpass"  # type: ignore[arg-type]
