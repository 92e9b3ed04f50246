"""The table of promises in docs/security.md, made from the markers on the checks in tests/verify.

python -m holdfast.cli.boundaries      writes it anew
"""

from __future__ import annotations

import runpy
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.paths import ROOT

SOURCE = ROOT / "tests" / "verify" / "promises.py"
DOCUMENT = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- boundaries: made by python -m holdfast.cli.boundaries -->", "<!-- end of boundaries -->"


def _source() -> dict[str, Any]:
    # By its path: the checks are no package of ours, and this file of them needs neither pytest nor a machine.
    return runpy.run_path(str(SOURCE), run_name="holdfast_promises")


def promises() -> list[dict[str, str]]:
    """Every promise: ``words``, ``component`` and the ``check`` behind it."""
    return [{"words": p.words, "component": p.component, "check": p.check} for p in _source()["promises"]()]


def table() -> str:
    """The promises as a Markdown table, for `verify --boundaries` and the document."""
    return str(_source()["table"]())


def document(text: str) -> str:
    """``text`` with the table between the two marks made anew. Raises HoldfastError where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise HoldfastError(
            "the marks of the table are not there", where=str(DOCUMENT), fix=f"put {BEGIN} and {END} back"
        )
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8")), "utf-8")
