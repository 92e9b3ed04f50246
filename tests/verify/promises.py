"""The promises to the user, out of the tests that check them: what `verify --boundaries` and docs/security.md show."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Promise:
    """One sentence, and the check behind it (``test_ollama.py::test_models_have_no_internet``)."""

    words: str
    component: str
    check: str


def promises(folder: Path = HERE) -> list[Promise]:
    """All promises in the order of files and lines. Reads the sources only: needs neither pytest nor a machine."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                words = [w for w in map(_words, node.decorator_list) if w]
                found += [Promise(w, file.stem.removeprefix("test_"), f"{file.name}::{node.name}") for w in words]
    return found


def _words(decorator: ast.expr) -> str:
    """The sentence in ``@pytest.mark.promise("…")``; empty for any other decorator."""
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.promise":
        return ""
    return str(ast.literal_eval(decorator.args[0]))


def table(found: list[Promise] | None = None) -> str:
    """The promises as a Markdown table."""
    rows = [f"| {p.words} | `{p.check}` |" for p in (promises() if found is None else found)]
    return "\n".join(["| Promise | Checked by (tests/verify) |", "|---|---|", *rows]) + "\n"
