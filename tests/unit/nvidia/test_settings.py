"""From settings and words of the command line to what is asked of the driver."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.cli.main import build
from holdfast.components.nvidia import deploy
from holdfast.errors import HoldfastError, SettingsError
from holdfast.settings.loader import resolve

SITE: dict[str, Any] = {
    "name": "gpu-box", "profile": "dual_3090", "login_user": "ada", "gpus": {"left": "01:00.0", "right": "21:00.0"},
    "tailscale": {"enabled": False},
}  # fmt: skip


def test_the_cuda_13_library_needs_a_newer_driver() -> None:
    assert deploy.want(resolve(SITE)).minimum == 550
    assert deploy.want(resolve({**SITE, "ollama": {"llm_library": "cuda_v13"}})).minimum == 580
    want = deploy.want(resolve({**SITE, "nvidia": {"branch": 595, "reboot": "never"}, "local": True}))
    assert (want.branch, want.reboot, want.here, want.required) == (595, "never", True, True)
    assert want.gpus == {"left": "0000:01:00.0", "right": "0000:21:00.0"}


def test_a_cap_for_a_card_that_is_not_declared() -> None:
    assert resolve({**SITE, "nvidia": {"power_limit_w": {"left": 280}}}).nvidia.power_limit_w == {"left": 280}
    for wrong in ({"middle": 280}, {"left": 50}):
        with pytest.raises(SettingsError, match="power_limit_w"):
            resolve({**SITE, "nvidia": {"power_limit_w": wrong}})


def test_up_may_insist_or_forbid_but_not_both() -> None:
    parser = build("up")
    assert parser.parse_args(["up", "gpu-box", "--reboot"]).reboot == "always"
    assert parser.parse_args(["up", "gpu-box", "--no-reboot"]).reboot == "never"
    assert parser.parse_args(["up", "gpu-box"]).reboot is None
    with pytest.raises(HoldfastError):
        parser.parse_args(["up", "gpu-box", "--reboot", "--no-reboot"])


def test_the_exit_code_travels_with_the_error() -> None:
    assert HoldfastError.of({"message": "reboot", "code": 3}).code == 3 and HoldfastError.of({"message": "x"}).code == 1
