"""holdfast-gpu: what it reads from real locks, and what a person may say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from holdfast_onhost import gpu
from holdfast_onhost.lease import preference
from holdfast_onhost.lease.locks import Leases
from holdfast_onhost.lease.queueing import Queue


def run(directory: Path, *words: str) -> int:
    roles = directory / "etc"
    roles.mkdir(exist_ok=True)
    for role in ("coder", "reasoner"):
        (roles / f"{role}.env").touch()
    (roles / "next.coder.env").touch()  # on trial
    return gpu.main(["--directory", str(directory), "--roles", str(roles), *words])


def test_holder_and_waiters_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = Leases(str(tmp_path), ["left", "right"], "reasoner")
    assert holder.take()
    queues = [Queue(str(tmp_path), ["left"], name) for name in ("zoe", "adam")]
    assert all(queue.join() for queue in queues)
    for at, name in enumerate(("zoe", "adam")):
        os.utime(tmp_path / "left.queue" / name, (1000 + at, 1000 + at))
    assert run(tmp_path, "status", "--json") == 0
    left, right = json.loads(capsys.readouterr().out)["gpus"]
    assert (left["name"], left["holder"]) == ("left", "reasoner") and left["since"] > 1e9
    assert [w["instance"] for w in left["waiting"]] == ["zoe", "adam"] and right["waiting"] == []
    preference.write(str(tmp_path), "adam", 600)
    assert run(tmp_path) == 0
    text = capsys.readouterr().out
    assert "left: held by reasoner since" in text and text.index("adam waits") < text.index("zoe waits")
    assert "preferred: adam, for another" in text
    holder.release()
    for queue in queues:
        queue.leave()
    run(tmp_path)
    assert "left: free; nobody waits\nright: free; nobody waits" in capsys.readouterr().out


def test_nobody_has_asked_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    assert "no GPU has been asked for" in capsys.readouterr().out


def test_prefer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "prefer", "coder") == 0
    name, left = preference.read(str(tmp_path))
    assert name == "coder" and 1790 < left <= 1800
    assert run(tmp_path, "prefer", "reasoner", "--for", "2h") == 0
    assert preference.read(str(tmp_path))[0] == "reasoner" and preference.read(str(tmp_path))[1] > 7000
    assert run(tmp_path, "prefer", "none") == 0 and preference.read(str(tmp_path)) == ("", 0.0)
    assert run(tmp_path, "prefer", "painter") == 1
    assert "no instance 'painter'; there are: coder, reasoner, and" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["30", "", "0m", "-1m", "8d", "1e9m", "m"])
def test_times_that_are_none(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, "prefer", "coder", "--for", text)
    assert "write 45s, 30m or 2h" in capsys.readouterr().err or text == "-1m"


def test_no_leases_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--directory", str(tmp_path / "none")]) == 1
    assert f"{tmp_path}/none is not there\nFix: " in capsys.readouterr().err
