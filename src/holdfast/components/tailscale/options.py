"""Options of the tailnet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from holdfast.components.tailscale.key import AuthKey
from holdfast.settings.section import Section, no_account

Tag = Annotated[str, Field(pattern=r"^tag:[a-z][a-z0-9-]*$")]


class Options(Section):
    """How the machine joins the tailnet and what it publishes there: Open WebUI and nothing else."""

    enabled: bool = Field(
        default=True, description="False leaves Tailscale alone: no way in from outside is made. "
        "A machine that has joined stays joined, and reachable; `sudo tailscale logout` there takes it out.",
    )
    login_server: Annotated[str, AfterValidator(no_account)] = Field(
        default="", pattern=r"^(https?://[^\s/]+(:\d+)?)?$",
        description="Address of a control server of your own (headscale), without a path; empty: Tailscale's.",
        examples=["https://headscale.example.org"],
    )  # fmt: skip
    hostname: str = Field(
        default="", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$",
        description="The machine's name in the tailnet; empty: the machine's own host name.", examples=["workstation"],
    )  # fmt: skip
    auth_key: AuthKey | None = Field(
        default=None,
        description="Where the one-off key for joining is: `{file: PATH}` or `{env: NAME}` on the computer you run "
        "Holdfast on. Needed for the first join only; the key itself must not stand here.",
        examples=[{"file": "~/.config/holdfast/gpu-box.tskey"}],
    )
    advertise_tags: list[Tag] = Field(
        default_factory=list,
        description="Tags to ask for when joining. Leave empty with headscale: there they come from the key, and "
        "asking is an error.",
        examples=[["tag:gpu"]],
    )
    accept_dns: bool = Field(
        default=False,
        description="Let the tailnet rewrite the machine's resolver (only if the machine itself needs tailnet names).",
    )
    serve: bool = Field(default=True, description="Publish Open WebUI on the tailnet; false publishes nothing.")
    serve_scheme: Literal["auto", "http", "https"] = Field(
        default="auto",
        description="`https` needs HTTPS certificates switched on in the tailnet; headscale has none, so `auto` means "
        "`http` with a login_server and `https` without. Both are encrypted on the way by WireGuard.",
    )
    timeout_s: int = Field(default=60, ge=5, le=600, description="How long joining may take, in seconds.")

    @property
    def scheme(self) -> Literal["http", "https"]:
        """The scheme of Open WebUI's address on the tailnet."""
        if self.serve_scheme == "auto":
            return "http" if self.login_server else "https"
        return self.serve_scheme

    @property
    def port(self) -> int:
        """The TCP port of Open WebUI's address on the tailnet: the scheme's own."""
        return 80 if self.scheme == "http" else 443
