"""Options of Aider."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.settings.section import Section
from holdfast.settings.types import Interpreter


class Options(Section):
    """The coding assistant at the workstation."""

    architect: str = Field(default="reasoner", description="The instance that plans.", examples=["reasoner"])
    editor: str = Field(default="coder", description="The instance that turns a plan into edits.", examples=["coder"])
    editor_edit_format: Literal["editor-diff", "editor-whole"] = Field(
        default="editor-diff",
        description="How the editor writes a change: search-and-replace blocks, or whole files (slower, but small models "
        "get the form right more often).",
    )
    ask_before_coding: bool = Field(
        default=True,
        description="Ask after the plan as well, before the editor's model is loaded. Every edit is shown and asked about "
        "before it is written, whatever this says.",
    )
    map_tokens: int = Field(
        default=1024, ge=0, le=65536, description="Tokens of the repository map sent with each prompt; 0: none."
    )
    timeout_s: int = Field(
        default=1800, ge=60, le=86400, description="Longest wait for one answer, in seconds; a 70B reasons for minutes."
    )
    python: Interpreter = "python3"
