"""What the settings become, and the order of things."""

from __future__ import annotations

import re
from typing import Any

import pytest

from holdfast.components.tailscale import deploy
from holdfast.components.tailscale.options import Options
from holdfast.components.tailscale.steps import Want
from holdfast.operations.place import File
from holdfast.settings import Workstation


def workstation(**options: Any) -> Workstation:
    instance = {"model": "qwen2.5-coder:32b", "gpus": [], "port": 11434}
    return Workstation.model_validate(
        {"name": "ws", "profile": "cpu", "login_user": "ada", "require_gpu": False, "instances": {"coder": instance},
         "open_webui": {"port": 8090}, "aider": {"architect": "coder", "editor": "coder"}, "tailscale": options}
    )  # fmt: skip


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []
    for name in ("place", "repository", "packages", "unit", "membership", "require_key", "require"):
        monkeypatch.setattr(deploy, name, lambda __name=name, **kwargs: calls.append((__name, kwargs)))
    # The function inside @deploy: pyinfra's wrapper wants a connected host.
    return calls


def run(function: Any, ws: Workstation) -> None:
    getattr(function, "__wrapped__", function)(ws)


def test_the_settings_become_what_is_wanted() -> None:
    options = {
        "login_server": "https://hs.example",
        "hostname": "ws",
        "accept_dns": True,
        "advertise_tags": ["tag:gpu"],
    }
    assert deploy.want(workstation(**options)) == Want(
        "https://hs.example", "ws", True, ("tag:gpu",), 60, "http", 80, publish=8090
    )
    assert deploy.want(workstation(serve=False)).publish == 0
    assert deploy.want(workstation()).scheme == "https"


def test_no_log_leaves_the_machine_even_at_the_first_start(called: list[tuple[str, dict[str, Any]]]) -> None:
    run(deploy.tailscale, workstation())
    names = [name for name, _ in called]
    assert names == ["place", "repository", "packages", "unit", "membership"]
    kwargs = dict(called)
    [drop_in] = [e for e in kwargs["place"]["entries"] if isinstance(e, File)]
    assert isinstance(drop_in.content, str) and "Environment=TS_NO_LOGS_NO_SUPPORT=true\n" in drop_in.content
    stamp = re.search(r"^Environment=HOLDFAST_CONFIG=([0-9a-f]{16})$", drop_in.content, re.M)
    assert stamp and kwargs["unit"]["config"] == stamp[1]
    assert re.fullmatch(r"tailscale=\d+\.\d+\.\d+", kwargs["packages"]["packages"][0])


def test_switched_off_touches_nothing(called: list[tuple[str, dict[str, Any]]]) -> None:
    run(deploy.tailscale, workstation(enabled=False))
    run(deploy.tailscale_preflight, workstation(enabled=False))
    assert not called
    run(deploy.tailscale_preflight, workstation())
    assert [name for name, _ in called] == ["require", "require_key"]


@pytest.mark.parametrize(
    "wrong",
    [{"login_server": "hs.example"}, {"login_server": "https://hs.example/path"}, {"hostname": "-x"}, {"hostname": "a.b"},
     {"advertise_tags": ["gpu"]}, {"serve_scheme": "ftp"}, {"timeout_s": 0}, {"serve": "yes"}, {"ssh": True}],
)  # fmt: skip
def test_what_the_options_refuse(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Options.model_validate(wrong)
