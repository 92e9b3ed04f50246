"""What cannot work is refused with a reason and a `Fix:`, and the machine is as it was: not even logged in to, if that was
possible to know before.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.lab.holdfast_command import holdfast, pyinfra

# Runs on the workstation as root: everything in /etc that a change would move, and all units with their processes.
LOOK = """
import json, os, subprocess
files = {}
for folder, folders, names in os.walk("/etc"):
    for path in (os.path.join(folder, name) for name in folders + names):
        st = os.lstat(path)
        files[path] = [st.st_mode, st.st_uid, st.st_gid, st.st_ino, st.st_size, st.st_mtime_ns]
show = ["systemctl", "show", "*.service", "-p", "Id,MainPID,UnitFileState,ActiveState,NRestarts"]
shown = subprocess.run(show, capture_output=True, text=True).stdout.split("\\n\\n")
# Those that come and go by themselves with a login or by the clock are no matter of ours.
passing = ("user@", "user-runtime-dir@", "session", "apt-", "dpkg-", "systemd-", "man-db", "e2scrub", "fstrim", "logrotate")
units = sorted(block for block in shown if not block.partition("Id=")[2].startswith(passing))
print(json.dumps({"files": files, "units": units}))
"""


def logins(machine: Any) -> int:
    """How often the login user has been let in since boot, by sshd's own word."""
    return int(machine.root("journalctl -b -u ssh -o cat --no-pager | grep -c '^Accepted publickey for ada' || true"))


def fixes(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.strip().startswith("Fix: ")]


def test_devices_that_must_be_there_and_are_not(workstation: Any) -> None:
    before = workstation.python(LOOK)
    done = holdfast("up", workstation.name, "--set", "require_gpu=true", "--set", "instances.coder.context=8192")
    assert done.returncode == 1, done.stdout + done.stderr
    for device in ("left (0000:01:00.0)", "right (0000:21:00.0)"):
        assert device in done.stderr
    assert fixes(done.stderr) and "Traceback" not in done.stderr
    assert workstation.python(LOOK) == before, "nothing on the machine has changed"
    # The control of the look: it sees one file touched, and one unit restarted.
    workstation.root("touch /etc/motd; systemctl restart cron 2>/dev/null || systemctl restart ssh")
    after = workstation.python(LOOK)
    assert [path for path in after["files"] if after["files"][path] != before["files"].get(path)] == ["/etc/motd"]
    assert after["units"] != before["units"]


def test_an_unknown_host(workstation: Any) -> None:
    for verb in ("up", "verify"):
        done = holdfast(verb, "gpu-bix")
        assert done.returncode == 2, done.stderr
        assert "gpu-bix" in done.stderr and workstation.name in done.stderr and fixes(done.stderr)


@pytest.mark.parametrize(
    ("verb", "value", "named"),
    [
        ("plan", "instances.coder.port=99999", ("instances.coder.port", "99999", "32767")),
        ("up", "instances.coder.contxt=8192", ("contxt", "context")),
        ("up", "instances.coder.context=many", ("instances.coder.context", "many")),
        ("up", "instances.coder.gpus=[middle]", ("middle", "left")),
    ],
)
def test_a_wrong_value_is_told_before_any_connection(workstation: Any, verb: str, value: str, named: tuple[str, ...]) -> None:
    before = logins(workstation)
    done = holdfast(verb, workstation.name, "--set", value)
    assert done.returncode == 2, done.stdout + done.stderr
    assert all(word in done.stderr for word in named), done.stderr
    assert fixes(done.stderr) and "Traceback" not in done.stderr
    assert logins(workstation) == before


def test_plain_pyinfra_tells_it_too(workstation: Any) -> None:
    before = logins(workstation)
    given = {"host": workstation.name, "values": {"instances.coder.port": 99999}}
    done = pyinfra(workstation.name, "--dry", HOLDFAST_SET=json.dumps(given))
    assert done.returncode != 0 and "instances.coder.port" in done.stdout + done.stderr
    assert logins(workstation) == before


def test_a_right_value_connects(workstation: Any) -> None:
    """The control of both: with a value that is right the same commands log in."""
    before = logins(workstation)
    done = holdfast("plan", workstation.name, "--set", "instances.coder.context=8192", "--json")
    assert done.returncode == 3, done.stderr
    assert "Ollama | Run the coder" in json.loads(done.stdout)["pending"]
    assert logins(workstation) > before
