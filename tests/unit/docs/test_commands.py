"""Every `./holdfast …` that a person reads, in the documents and in the Fix lines, is one that the parser takes."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.main import VERBS, build
from holdfast.cli.parser import Parser
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SRC = ROOT / "src"


@pytest.fixture(scope="module")
def parser() -> Parser:
    return build(None)


def spans(text: str) -> Iterator[str]:
    """What Markdown shows as code: the lines of fenced blocks, and `inline`."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `./holdfast …`; the bare name is none."""
    for code in spans(text):
        at = re.match(r"\s*(?:sudo )?\./holdfast(.*)", code)
        if at and (words := shlex.split(at[1], comments=True)):
            yield words


def wrong(parser: Parser, words: list[str]) -> str:
    """Why the parser does not take the words; empty when it does."""
    if "--help" in words:
        words = [word for word in words if word != "--help"]
    try:
        _, unknown = parser.parse_known_args(words)
    except HoldfastError as error:
        return error.message
    return f"unknown: {unknown}" if unknown else ""


def test_the_reader_sees_commands_and_what_is_wrong_with_them(parser: Parser) -> None:
    text = "Say `./holdfast plan box` or `./holdfast`.\n```sh\nsudo ./holdfast up --fast  # quick\n./holdfast upp\n```\n"
    found = list(commands(text))
    assert found == [["plan", "box"], ["up", "--fast"], ["upp"]]
    assert [bool(wrong(parser, words)) for words in found] == [False, True, True]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_parse(document: Path, parser: Parser) -> None:
    bad = {" ".join(words): why for words in commands(document.read_text("utf-8")) if (why := wrong(parser, words))}
    assert not bad, bad


def test_documents_have_commands() -> None:
    counts = {path.name: len(list(commands(path.read_text("utf-8")))) for path in DOCUMENTS}
    few = [name for name in ("README.md", "daily.md", "rebuild.md", "troubleshooting.md") if counts[name] < 5]
    assert not few, counts


def strings(path: Path) -> Iterator[str]:
    """Every string of a Python file but docstrings; what is filled in when it runs stands as NAME."""
    inner: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Expr):
            inner.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "NAME" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def mentioned(text: str) -> Iterator[list[str]]:
    """`./holdfast VERB … --option` in prose: the verb and its options."""
    for rest in re.findall(r"\./holdfast ((?:[\w@:.=…-]+ ?)+)", text):
        words = rest.split()
        yield [words[0], *(word for word in words[1:] if word.startswith("--") and word != "--")]


def unknown_in(parser: Parser, words: list[str]) -> str:
    verb, options = words[0], [word for word in words if word.startswith("--")]
    if verb in ("…", "NAME", "again", "again:"):
        return ""  # "./holdfast … box", and "run ./holdfast again"
    if verb not in VERBS:
        return f"no verb {verb!r}"
    below = parser._subparsers._group_actions[0].choices[verb]  # type: ignore[union-attr,index,call-overload]
    known = set(below._option_string_actions)
    return ", ".join(option for option in options if option not in known)


def test_commands_in_the_code_exist(parser: Parser) -> None:
    assert unknown_in(parser, ["upp"]) and unknown_in(parser, ["up", "--fast"]) and not unknown_in(parser, ["up", "--release"])
    files = [p for p in SRC.rglob("*.py") if "__pycache__" not in p.parts]
    found = [(path, words) for path in files for text in strings(path) for words in mentioned(text)]
    assert len(found) > 40, "the reader of the code is blind"
    bad = [f"{path.relative_to(ROOT)}: {' '.join(words)}: {why}" for path, words in found if (why := unknown_in(parser, words))]
    assert not bad, bad
