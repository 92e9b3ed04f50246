"""What a person gives on the command line: refused with exit code 2 before it can do harm, never a traceback."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from holdfast.cli import hosts, init
from holdfast.cli.show import Plain
from holdfast.errors import HoldfastError


@pytest.mark.parametrize("name", ["cpu", "all", "box"])
def test_init_writes_no_name_that_the_loader_refuses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hosts.yml"
    monkeypatch.setenv("HOLDFAST_HOSTS", str(file))
    monkeypatch.setattr(init, "look", lambda args, name: {"cards": [], "user": "ada", "ssh": {}, "local": True})
    args = SimpleNamespace(host="@local", name=name, ssh="", login_user="", yes=False)
    if name == "box":
        assert init.run(args, Plain(io.StringIO(), every_s=0)).data["name"] == name
        assert yaml.safe_load(file.read_text())[name]["profile"] == "cpu"
        return
    with pytest.raises(HoldfastError, match="cannot be called"):
        init.run(args, Plain(io.StringIO(), every_s=0))
    assert not file.exists()


@pytest.mark.parametrize("value", ["2026-01-01", "!!binary aGk=", "{1, 2: [", "!!set {a}", "2001-99-99", "[" * 3000])
def test_set_refuses_what_no_setting_can_be(value: str) -> None:
    with pytest.raises(HoldfastError) as caught:
        hosts.overrides([f"a.b={value}"])
    assert caught.value.code == 2 and "--set a.b" in caught.value.render()
