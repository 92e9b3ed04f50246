"""Options of the base."""

from __future__ import annotations

from pydantic import Field

from holdfast.settings.section import Section


class Options(Section):
    """What every other component stands on."""

    packages: list[str] = Field(
        default_factory=list,
        description="Further Debian or Ubuntu packages to install.",
        examples=[["tmux", "htop"]],
    )
    ca_certificates: list[str] = Field(
        default_factory=list,
        description="PEM files on the computer you run Holdfast on; each is added to the machine's trusted authorities "
        "(a control server or a depot of your own with a certificate of your own). One that no longer stands here is "
        "trusted no longer.",
        examples=[["~/.config/home-ca.pem"]],
    )
    apt_lock_timeout_s: int = Field(
        default=600, ge=10, le=7200, description="How long to wait for another apt or dpkg to finish, in seconds."
    )
