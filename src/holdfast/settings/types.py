"""Types of options that more than one component has."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Interpreter = Annotated[
    str,
    Field(
        pattern=r"^(python3(\.\d+)?|/[\w./-]+|3\.1[12])$",
        description="Interpreter of the environment: 3.11 or 3.12. Where the machine's own is another (Debian 13: 3.13), "
        "3.12 is taken from uv's own releases, which needs the network of their host (github.com).",
        examples=["python3.12"],
    ),
]
