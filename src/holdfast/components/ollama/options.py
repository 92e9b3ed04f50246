"""Options of the Ollama servers: what all share, and what an instance has for itself."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from holdfast.components.models.options import ModelName
from holdfast.settings.section import Section

# Go's time.ParseDuration, or seconds; negative: for ever (ollama envconfig/config.go).
Duration = Annotated[
    str, BeforeValidator(lambda value: str(value) if type(value) is int else value, json_schema_input_type=str | int),
    Field(pattern=r"^-?([0-9]+(\.[0-9]+)?(ms|s|m|h))+$|^-?[0-9]+$"),
]  # fmt: skip

# The lease's own rule for names of files (holdfast_onhost/lease/settings.py).
LeaseName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Instance(Section):
    """One Ollama server: one role, one model, a port of its own, the GPUs that it may use."""

    model: ModelName = Field(description="The model it is for, with its tag.", examples=["qwen2.5-coder:32b"])
    gpus: list[str] = Field(
        default_factory=list,
        description="Names out of `gpus`. The instance sees these cards and no other. Empty: the CPU, which "
        "`require_gpu: false` must allow.",
        examples=[["left"], ["left", "right"]],
    )
    port: int = Field(
        ge=1024, le=32767, description="TCP port on 127.0.0.1; below the range from which the kernel lends ports.",
        examples=[11434],
    )  # fmt: skip
    context: int = Field(
        default=16384, ge=512, le=1_048_576,
        description="Context of one request in tokens. Open WebUI and Aider use the same number.",
    )  # fmt: skip
    parallel: int = Field(
        default=1, ge=1, le=16, description="Requests answered at once; each has a whole context in VRAM."
    )
    batch: int = Field(
        default=512, ge=64, le=4096,
        description="Most tokens of a prompt that are computed at once, whatever Ollama or a client would like: more reads "
        "prompts faster and takes more VRAM for buffers (`plan` shows it).",
    )  # fmt: skip
    kv_type: Literal["f16", "q8_0", "q4_0"] = Field(
        default="q8_0", description="Number format of the KV cache: q8_0 takes about half of f16, q4_0 about a quarter."
    )
    keep_alive: Duration = Field(
        default="5m", description="How long an idle model stays loaded; 0: not at all, negative: for ever."
    )
    flash_attention: bool = Field(
        default=True, description="Flash attention; a quantized KV cache needs it, and a 3090 has it."
    )
    lease: list[LeaseName] | None = Field(
        default=None,
        description="What the instance holds alone while its model is loaded, by names of yours: instances that name the "
        "same thing take turns on it, the others never wait for each other. Default, from what fits: those of its `gpus` on "
        "which its model and another instance's do not fit together (or of which that is not known), and those that it alone "
        "uses. Where several share what is no card, the same word in each of them will do; empty: it never waits.",
        examples=[["left", "right"], ["memory"]],
    )

    @field_validator("gpus")
    @classmethod
    def _each_card_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"a card is named twice: {', '.join(value)}; name each one once")
        return value

    @model_validator(mode="after")
    def _quantized_cache_needs_flash_attention(self) -> Self:
        if self.kv_type != "f16" and not self.flash_attention:
            raise ValueError(f"kv_type {self.kv_type} needs flash_attention: true (llama.cpp refuses it otherwise)")
        return self

    @property
    def held(self) -> tuple[str, ...]:
        """What it holds while its model is loaded; the settings of a machine have every `lease` filled in."""
        return tuple(dict.fromkeys(self.gpus if self.lease is None else self.lease))


class Options(Section):
    """What all instances share."""

    cache_ram_mib: int = Field(
        default=2048,
        ge=0,
        le=1_048_576,
        description="Main memory for the prompts' cache of one instance, in MiB; 0: none.",
    )
    llm_library: Literal["", "cuda_v12", "cuda_v13"] = Field(
        default="cuda_v12",
        description="The CUDA library in use. cuda_v12 holds code for these cards; cuda_v13 is compiled on the first load, "
        "which takes minutes. Empty: Ollama's own choice.",
    )
    memory_deny_write_execute: bool = Field(
        default=True,
        description="No memory that is writable and executable at once (systemd's MemoryDenyWriteExecute).",
    )
    ready_timeout_s: int = Field(
        default=120,
        ge=5,
        le=3600,
        description="Seconds within which a started server must answer; it looks for GPUs first, which takes time.",
    )
    lease_min_hold_s: float = Field(
        default=60, ge=0, le=86400,
        description="Seconds that a busy instance may keep its cards once its model is loaded while another "
        "one waits; then it gives way between two requests. Nothing that runs is cut, and an idle one gives way at once.",
    )  # fmt: skip
    load_limit_s: int = Field(
        default=1800, ge=30, le=86_400,
        description="Seconds after which a load that has not ended is given up, with an error that says so: a card that hangs "
        "would otherwise keep everybody waiting for ever.",
    )  # fmt: skip
    min_roofline: float = Field(
        default=0.6, ge=0, le=1,
        description="Share of the speed that the cards' memory allows below which `bench` fails: for one request, at the worst "
        "of its prompt lengths. 0: it never does.",
    )  # fmt: skip
    devices_wait_s: int = Field(
        default=60, ge=0, le=3600, description="Seconds that a unit waits at boot for a driver that is still loading."
    )
