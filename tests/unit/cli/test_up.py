"""What `up` does before and after the machine is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli import remote, up
from holdfast.errors import HoldfastError
from holdfast.settings.loader import resolve, site

BASE = {"profile": "cpu", "login_user": "ada"}


@pytest.mark.parametrize(
    ("words", "said"),
    [("nosuch=my.gguf", "no such role"), ("coder=text.gguf", "is no GGUF file"), ("coder=none", "no file")],
)
def test_a_model_that_cannot_be_served_is_refused_first(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_CWD", str(tmp_path))
    (tmp_path / "my.gguf").write_bytes(b"GGUF....")
    (tmp_path / "text.gguf").write_bytes(b"text")
    assert up.model_files(["coder=my.gguf"]) == {"coder": tmp_path / "my.gguf"}
    with pytest.raises(HoldfastError, match=said) as told:
        up.model_files([words])
    assert told.value.code == 2 and told.value.fix


def test_two_runs_at_once_do_not_share_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hold = "p = up.log_of('up', 'box'); p.write_text('first'); print(p, flush=True); sys.stdin.read()"
    hold = f"import sys; from holdfast.cli import up; {hold}"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours = up.log_of("up", "box")
        assert ours != theirs
        assert theirs.read_text() == "first"
        other.communicate("")
    assert up.log_of("up", "box") == theirs, "free again, and begun anew"
    assert theirs.read_bytes() == b""


def test_an_ssh_config_that_knows_the_hosts_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    ws = resolve(site("box", {**BASE, "ssh": {"hostname": "192.0.2.7", "user": "ada", "port": 2222}}, "hosts.yml"))
    file = remote.config_file(ws)
    assert file is not None
    told = subprocess.run(["ssh", "-G", "-F", file, "box"], capture_output=True, text=True, check=True).stdout
    for line in ("hostname 192.0.2.7", "user ada", "port 2222"):
        assert line in told.splitlines()
    assert remote.config_file(resolve(site("box", {**BASE, "local": True}, "hosts.yml"))) is None
