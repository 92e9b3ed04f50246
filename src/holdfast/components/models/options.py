"""Options of the model store."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from holdfast.settings.section import Section

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ModelName = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/)?([\w.-]+/)?[\w][\w.-]*:[\w][\w.-]*$", max_length=200)
]


class Options(Section):
    """Where models come from, and by which digests they are recognised."""

    registry: str = Field(
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
