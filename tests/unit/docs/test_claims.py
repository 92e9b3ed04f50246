"""What is said of the checks' independence is what their imports are."""

from __future__ import annotations

import ast

import pytest

from holdfast.cli import verify
from holdfast.paths import ROOT

DENIAL = ("no code", "without the code")


def borrowed() -> set[str]:
    """The rooms of Holdfast from which tests/verify imports; where the checkout lies is no code that sets a machine up."""
    found = set()
    for path in (ROOT / "tests" / "verify").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast."):
                found.add(str(node.module).split(".")[1])
    return found - {"paths"}


TEXTS = {"verify --help": verify.ABOUT, **{f: (ROOT / f).read_text() for f in ("docs/security.md", "CHANGELOG.md")}}


@pytest.mark.parametrize("name", TEXTS)
def test_the_checks_are_said_to_share_the_settings_and_nothing_else(name: str) -> None:
    assert borrowed() == {"settings"}
    text = " ".join(TEXTS[name].split())
    _, found, after = text.partition("readers of its own")
    assert found and "settings" in after[:150]
    assert not [words for words in DENIAL if words in text]
