"""Templates: Jinja2 with StrictUndefined, so that a name nobody set is an error and never an empty string."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from holdfast.paths import SHIPPED, TEMPLATES


@cache
def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    env.globals["programs"] = SHIPPED
    return env


def render(template: str, **data: Any) -> str:
    """The text of ``templates/<template>`` with ``data``; raises jinja2.UndefinedError for a name that is missing."""
    return environment().get_template(template).render(**data)
