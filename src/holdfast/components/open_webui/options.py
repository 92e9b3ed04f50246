"""Options of Open WebUI."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from holdfast.settings.section import Section
from holdfast.settings.types import Interpreter


def _origin(value: str) -> str:
    # The words stand in a unit's command line, where systemd reads %, $ and line ends its own way.
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", value):
        raise ValueError('not an origin; scheme, host and port only, as in "https://chat.example.org:8443"')
    return value.lower()


Origin = Annotated[str, AfterValidator(_origin)]


class Options(Section):
    """The browser's door."""

    port: int = Field(default=8080, ge=1024, le=65535, description="TCP port on 127.0.0.1.")
    admin_email: str = Field(
        default="admin@workstation.internal",
        pattern=r"^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$",
        description="Login name of the first administrator; used once, when there is no account yet. The password is made "
        "on the machine and lies there in /etc/holdfast/open-webui/admin-password, readable by root.",
        examples=["ada@example.org"],
    )
    admin_name: str = Field(
        default="Admin",
        min_length=1,
        max_length=60,
        pattern=r"^[\w .,'-]+$",
        description="Shown name of the first administrator; used once.",
        examples=["Ada"],
    )
    default_instance: str = Field(
        default="",
        description="The instance a new chat begins with; empty: the first of `instances`.",
        examples=["coder"],
    )
    extra_origins: list[Origin] = Field(
        default_factory=list,
        description="Further addresses that the page is opened under, besides those `tailscale serve` publishes. A page "
        "opened under any other address logs in and then never answers.",
        examples=[["https://chat.example.org"]],
    )
    memory_max: str = Field(
        default="4G",
        pattern=r"^[1-9][0-9]*[MG]$",
        description="Most memory that the server may take (systemd MemoryMax); it needs about 400M.",
        examples=["2G"],
    )
    session_days: int = Field(default=28, ge=1, le=365, description="A login lasts this many days.")
    python: Interpreter = "python3"
    start_timeout_s: int = Field(
        default=180,
        ge=20,
        le=3600,
        description="How long the server may take until it answers, in seconds; 8 is usual.",
    )
