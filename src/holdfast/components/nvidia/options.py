"""Options of the NVIDIA driver."""

from __future__ import annotations

from pydantic import Field

from holdfast.settings.section import Section


class Options(Section):
    """What the machine's driver must be able to do."""

    minimum_driver: int = Field(
        default=550, ge=525, le=999,
        description="Oldest driver branch that counts as usable. Ollama from 0.30 on drops a GPU whose driver is older "
        "than 550 and computes on the CPU instead, with one line in its log.",
    )  # fmt: skip
