"""The throw-away workstation's block of hosts.yml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout


def block(layout: Layout, pins: Mapping[str, str]) -> dict[str, Any]:
    """What hosts.yml would say of the lab's workstation. ``pins``: model -> digest of its manifest, as models.make returns."""
    return {
        "profile": "dual_3090",
        "ssh": {"user": at.LOGIN_USER, "key_file": str(layout.ssh_key), "config_file": str(layout.ssh_config)},
        "login_user": at.LOGIN_USER,
        # The profile names the cards; here they have addresses at which there is nothing.
        "gpus": {"left": "01:00.0", "right": "21:00.0"},
        "require_gpu": False,
        # Without cards the servers take turns all the same, on the cards' names: as on a real machine, only sooner.
        "ollama": {"lease_min_hold_s": 2},
        "depot": at.DEPOT_URL,
        "models": {"registry": at.MODELS_URL, "pins": dict(pins)},
        "base": {"ca_certificates": [str(layout.authority)]},
        "tailscale": {"login_server": at.CONTROL_URL, "auth_key": {"file": str(layout.auth_key)}},
    }
