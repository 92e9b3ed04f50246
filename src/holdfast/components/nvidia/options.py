"""Options of the NVIDIA driver."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from holdfast.settings.section import Section


class Options(Section):
    """The machine's driver: where it comes from, what it must be able to do, when the machine may be rebooted for it."""

    source: Literal["auto", "distribution", "nvidia", "none"] = Field(
        default="auto",
        description="Where the driver comes from: `distribution` (Ubuntu: modules built and signed by Canonical; Debian 13: "
        "550, built on the machine), `nvidia` (Debian only: NVIDIA's own repository, limited to driver packages), `none` (you "
        "install it; Holdfast only looks). `auto`: the distribution's, where it drives the cards, else NVIDIA's. Never both.",
    )
    branch: int | None = Field(
        default=None, ge=470, le=999,
        description="The driver branch to install and stay on. Empty: 580, and on Debian 13 the 550 that it has; a driver that "
        "works is then left as it is.", examples=[580],
    )  # fmt: skip
    modules: Literal["auto", "open", "proprietary"] = Field(
        default="auto",
        description="Which kernel modules. `auto`: what the cards need (Blackwell: open; before Turing: proprietary), else open, "
        "and proprietary with Debian 13's own, whose open ones do not build.",
    )
    minimum_driver: int = Field(
        default=550, ge=525, le=999,
        description="Oldest driver branch that counts as usable. Ollama from 0.30 on drops a GPU whose driver is older "
        "than 550 and computes on the CPU instead, with one line in its log. With `ollama.llm_library: cuda_v13` it is 580.",
    )  # fmt: skip
    reboot: Literal["auto", "never", "always"] = Field(
        default="auto",
        description="`auto`: reboot once when the driver cannot come into use otherwise, the next kernel is ready, nothing "
        "is computing, and no disk asks for a passphrase at boot. `never`: stop and say so. `always` (`up --reboot`): also "
        "where something computes or a passphrase is asked for. Never this very computer.",
    )
    reboot_timeout_s: int = Field(
        default=600, ge=30, le=7200, description="How long to wait for the machine to come back, in seconds."
    )
    idle_wait_s: int = Field(
        default=300, ge=0, le=86400,
        description="How long to wait for a generation or a batch to end before a reload or a reboot, in seconds.",
    )  # fmt: skip
    power_limit_w: dict[str, Annotated[int, Field(ge=100, le=1000)]] = Field(
        default_factory=dict,
        description="Most watts that a card may draw, by its name in `gpus`; read back once it is set. Not named: its own "
        "default. Two 3090s at 280 W draw 140 W less than at 350 W and lose a percent or two of speed on short prompts; "
        "below 200 W long prompts become slow.",
        examples=[{"left": 280, "right": 280}],
    )  # fmt: skip
    updates: Literal["managed", "leave"] = Field(
        default="managed",
        description="`managed`: unattended-upgrades leaves the driver alone, which would be swapped under running models: "
        "`sudo apt full-upgrade`, then `up`, is the way to a newer one. `leave`: its settings are not touched.",
    )
    always_on: bool = Field(
        default=False, description="True keeps the machine from suspending or hibernating, idle or not."
    )
