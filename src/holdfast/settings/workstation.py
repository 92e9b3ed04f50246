"""Workstation: everything that is known about one machine before it is touched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from holdfast.components.aider.options import Options as Aider
from holdfast.components.base.options import Options as Base
from holdfast.components.models.options import Options as Models
from holdfast.components.nvidia.options import Options as Nvidia
from holdfast.components.ollama.options import Instance
from holdfast.components.ollama.options import Options as Ollama
from holdfast.components.open_webui.options import Options as OpenWebui
from holdfast.components.tailscale.options import Options as Tailscale
from holdfast.errors import SettingsError
from holdfast.settings import fitting
from holdfast.settings.explain import FIX, settings_error
from holdfast.settings.gpu import CardName, Gpu
from holdfast.settings.merge import merge
from holdfast.settings.section import Section, no_account

NAME = r"^[a-z][a-z0-9_-]{0,30}$"


def _depot(value: str) -> str:
    if value and not re.match(r"^(https?://[^\s]+|/[^\s]*)$", value):
        raise ValueError(
            "not a depot; an absolute path on the machine or an http(s) URL"
            f"{FIX}write depot: /mnt/usb/holdfast-depot, or depot: http://nas.lan:8000"
        )
    return (value if value.startswith("/") else no_account(value)).rstrip("/")


Name = Annotated[str, Field(pattern=NAME)]


class Ssh(Section):
    """How to reach the machine; what is left out comes from ~/.ssh/config."""

    hostname: str = Field(
        default="", description="Address or name; empty: the host's own name.", examples=["192.168.1.20"]
    )
    user: str = Field(default="", description="Login name; an ordinary user who may sudo.", examples=["ada"])
    port: int = Field(default=0, ge=0, le=65535, description="TCP port; 0: ssh's own choice.")
    key_file: str = Field(default="", description="Private key on this computer.", examples=["~/.ssh/id_ed25519"])
    config_file: str = Field(default="", description="An ssh_config to use in place of ~/.ssh/config.")


class Workstation(Section):
    """One machine: what it is. What to do once is an argument of a command."""

    name: Name = Field(description="The host's name in hosts.yml.")
    profile: Name = Field(description="Hardware profile: the name of a file in group_data/.", examples=["dual_3090"])
    local: bool = Field(default=False, description="True for the computer that Holdfast itself runs on (`@local`).")
    ssh: Ssh = Field(default_factory=Ssh, description="How to reach the machine.")
    login_user: Name = Field(
        description="The person's account on the machine; `verify` runs Aider as this user (everybody who logs in has it).",
        examples=["ada"],
    )
    gpus: dict[Name, Gpu] = Field(
        default_factory=dict, description="The cards: a name of yours for each PCI address (`lspci -D | grep -i nvidia`), or "
        "for a mapping with more about the card.",
        examples=[{"left": "01:00.0", "right": {"address": "21:00.0", "card": "rtx-3090", "display": True}}],
    )  # fmt: skip
    card: CardName = Field(
        default="", description="What kind the cards are, where `gpus` does not say it of one: a key of "
        "src/holdfast/fit/cards.py. Empty: not known, and whether a model fits is then not known either.",
        examples=["rtx-3090"],
    )  # fmt: skip
    require_gpu: bool = Field(
        default=True, description="False allows models to run on the CPU where the declared cards are not there."
    )
    depot: Annotated[str, AfterValidator(_depot)] = Field(
        default="", description="Where downloads come from: empty for the vendors' addresses, else a folder on the machine "
        "or one URL with the same files (docs/rebuild.md).", examples=["/mnt/usb/holdfast-depot", "http://nas.lan:8000"],
    )  # fmt: skip
    instances: dict[Name, Instance] = Field(min_length=1, description="The Ollama servers, by role.")
    base: Base = Field(default_factory=Base, description="Packages and authorities.")
    nvidia: Nvidia = Field(default_factory=Nvidia, description="The driver.")
    models: Models = Field(default_factory=Models, description="Where models come from and where they lie.")
    ollama: Ollama = Field(default_factory=Ollama, description="What all instances share.")
    open_webui: OpenWebui = Field(default_factory=OpenWebui, description="The browser's door.")
    aider: Aider = Field(default_factory=Aider, description="The coding assistant at the workstation.")
    tailscale: Tailscale = Field(default_factory=Tailscale, description="The only way in from outside.")

    @model_validator(mode="after")
    def _cross_checks(self) -> Self:
        for role, instance in self.instances.items():
            for gpu in instance.gpus:
                if gpu not in self.gpus:
                    known = ", ".join(self.gpus) or "none"
                    raise ValueError(
                        f"instances.{role}.gpus names {gpu!r}, which gpus does not (known: {known}){FIX}"
                        f"write one of the known names in instances.{role}.gpus, or add {gpu}: with its PCI address to gpus"
                    )
        if self.local and self.ssh != Ssh():
            raise ValueError("local: true is this very computer, and ssh: is another one; take one of the two out")
        if self.models.registry == "depot" and not self.depot:
            raise ValueError("models.registry: depot needs a depot (set depot, or take the address of a registry)")
        ports = Counter([i.port for i in self.instances.values()] + [self.open_webui.port])
        doubled = [str(port) for port, count in ports.items() if count > 1]
        if doubled:
            free = next(str(port) for port in range(11434, 32767) if port not in ports)
            raise ValueError(
                f"port {', '.join(doubled)} is used twice among instances and open_webui{FIX}"
                f"give one of them another: port: {free}"
            )
        for gpu in self.nvidia.power_limit_w:
            if gpu not in self.gpus:
                known = ", ".join(self.gpus) or "none"
                raise ValueError(f"nvidia.power_limit_w names {gpu!r}, which gpus does not (known: {known})")
        addresses = Counter(gpu.address for gpu in self.gpus.values())
        twice = [address for address, count in addresses.items() if count > 1]
        if twice:
            raise ValueError(
                f"gpus: {', '.join(twice)} has two names{FIX}keep one name for each card, and use it in instances"
            )
        roles = {"aider.architect": self.aider.architect, "aider.editor": self.aider.editor}
        if self.open_webui.default_instance:
            roles["open_webui.default_instance"] = self.open_webui.default_instance
        for key, role in roles.items():
            if role not in self.instances:
                known = ", ".join(self.instances)
                raise ValueError(
                    f"{key} names {role!r}, which instances does not (known: {known}){FIX}set {key} to one of {known}"
                )
        architect, editor = self.aider.architect, self.aider.editor
        # Aider tells models apart by name only: one name on two servers cannot be addressed.
        if architect != editor and self.instances[architect].model == self.instances[editor].model:
            raise ValueError(
                f"aider.architect and aider.editor: the instances {architect!r} and {editor!r} have the same model, "
                f"{self.instances[editor].model}; set aider.architect to {editor}, or give one of them another model"
            )
        return self

    @property
    def addresses(self) -> dict[str, str]:
        """The cards' PCI addresses, by the site's names for them."""
        return {name: gpu.address for name, gpu in self.gpus.items()}

    @property
    def login(self) -> str:
        """What a person types to get in."""
        if self.local:
            return "you are there"
        ssh = self.ssh
        words = [
            "ssh",
            *(["-F", ssh.config_file] if ssh.config_file else []),
            *(["-p", str(ssh.port)] if ssh.port else []),
        ]
        words += ["-i", ssh.key_file] if ssh.key_file else []
        address = ssh.hostname or self.name
        return " ".join([*words, f"{ssh.user}@{address}" if ssh.user else address])

    @classmethod
    def of(cls, data: Any) -> Workstation:
        """The settings in pyinfra's ``host.data``: the profile's keys, ``site``, and pyinfra's own ``ssh_*`` and ``_*``."""
        everything = data.dict() if hasattr(data, "dict") else dict(data)
        profile = {k: v for k, v in everything.items() if k != "site" and not k.startswith(("ssh_", "_", "holdfast_"))}
        return cls.laid_over(profile, everything["site"])

    @classmethod
    def laid_over(cls, profile: Mapping[str, Any], site: Mapping[str, Any], where: str = "") -> Workstation:
        """``site`` over ``profile``, validated; ``where`` names the site's file in errors. Raises SettingsError."""
        name = str(site.get("name", "?"))
        try:
            ws = cls.model_validate(merge(profile, site))
        except ValidationError as error:
            raise settings_error(error, cls, name, where) from None
        except RecursionError:
            raise SettingsError(f"{name}: nested too deeply", where=where, fix="see hosts.example.yml") from None
        asked = fitting.asked(ws)
        fitting.require(asked, where)
        fitting.require_turns(asked, where)
        return fitting.with_leases(ws, asked.leases)
