"""Options of the model store."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from holdfast.settings.section import Section, no_account

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _no_registry(value: object) -> object:
    """Every model is asked of ``registry``: a name that brings a registry along would be looked for at another."""
    if isinstance(value, str) and value.count("/") > 1:
        registry, _, name = value.partition("/")
        raise ValueError(f"{registry!r} in it is a registry: write {name!r}, and set models.registry (one for all models)")
    return value


ModelName = Annotated[
    str, BeforeValidator(_no_registry), Field(pattern=r"^([\w][\w.-]*/)?[\w][\w.-]*:[\w][\w.-]*$", max_length=200)
]


class Options(Section):
    """Where models come from, and by which digests they are recognised."""

    registry: Annotated[str, AfterValidator(no_account)] = Field(
        default="https://registry.ollama.ai",
        pattern=r"^https?://[^\s/]+$",
        description="Address of the registry that serves the models. A mirror may be plain http: every byte is checked "
        "against the pinned digest.",
        examples=["http://nas.lan:5000"],
    )
    pins: dict[ModelName, Digest] = Field(
        default_factory=dict,
        description="Manifest digests of this site's own models, by name and tag; they come before locks/models.yml. "
        "The digest is the SHA-256 of the manifest as the registry sends it, the ID that `ollama list` shortens.",
        examples=[{"qwen2.5-coder:32b": "sha256:" + "0" * 64}],
    )
    limit_mib_s: float = Field(
        default=0, ge=0, le=100_000, description="Most MiB per second that the download may take; 0: no limit."
    )
    patience_s: int = Field(
        default=600,
        ge=30,
        le=86_400,
        description="Seconds without a new byte after which an apply stops waiting for the models. "
        "The download itself goes on trying.",
    )
