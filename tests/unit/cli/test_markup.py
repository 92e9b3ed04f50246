"""What machines and files say is shown letter by letter: no markup, no emoji, nothing that a terminal obeys."""

from __future__ import annotations

import argparse
import ast
import io
import json
from pathlib import Path

import pytest
from tests.unit.nvidia.odd_states import WORKS
from tests.unit.nvidia.trees import NEW, V, boot, headers, tree

from holdfast.cli.main import run
from holdfast.cli.outcome import Outcome
from holdfast.cli.show import Drawn, Plain
from holdfast.cli.table import Columns
from holdfast.cli.telling import tell
from holdfast.components.nvidia.facts import read_machine
from holdfast.paths import ROOT

LINES = (
    "make[1]: *** [/usr/src/linux-headers-6.12.117+deb13-common/Makefile:224: __sub-make] Error 2",
    "make[2]: *** [nv-pci.o] Error 1",
    "no NVIDIA GPU at 0000:ab:00.0 [red]",
)


def joined(said: str) -> str:
    """Without the spaces and ends of line that a table puts in."""
    return "".join(said.split())


@pytest.mark.parametrize("line", LINES[:2])
def test_the_telling_line_of_a_build_stands_there_whole(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = f"DKMS make.log for nvidia-current-{V} for kernel {NEW} (x86_64)\n{line}\n"
    files = {**WORKS, **boot(NEW), **headers(NEW), f"var/lib/dkms/nvidia-current/{V}/build/make.log": log}
    folder = tmp_path / "[" / "b]c[nv-pci.o]"  # "[/b]" closes a tag
    folder.mkdir(parents=True)
    file = folder / "facts.json"
    file.write_text(json.dumps(read_machine(str(tree(tmp_path / "root", files)))))
    assert run(["status", "--facts", str(file)]) == 1
    said = capsys.readouterr().out
    # In the driver's row and in the finding; and the file in the title.
    assert joined(said).count(joined(line)) == 2 and str(file) in said


def test_tables_lines_and_progress_take_words_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x1b]0;x\x07\ud800"
    table = Columns("name", "[/head]", title=LINES[0])
    for line in (*LINES, evil):
        table.line("[/x]", line)
    tell(Outcome({}, [table, *LINES, evil], 0), argparse.Namespace(json=False))
    said = joined(capsys.readouterr().out)
    assert [said.count(joined(line)) for line in LINES] == [3, 2, 2] and said.count("[/x]") == 4 and "[/head]" in said
    assert "\x1b" not in said and "\x07" not in said and said.count("\\x1b[2J") == 2 and said.count("\\ud800") == 2

    out = io.StringIO()
    plain = Plain(out)
    for line in (*LINES, evil):
        plain.note(line)
    assert all(line in out.getvalue() for line in LINES) and "\x1b" not in out.getvalue()
    drawn = Drawn()
    for line in (*LINES, evil):
        drawn.note(line)
    said = joined(capsys.readouterr().err)
    assert all(joined(line) in said for line in LINES) and "\\x1b[2J" in said


def test_nothing_in_holdfast_reads_markup() -> None:
    """One place makes tables, of Text; every console and every column of words has markup and emoji switched off."""
    calls: list[tuple[str, str, dict[str, object]]] = []
    tables = set()
    for path in (ROOT / "src/holdfast").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.table":
                tables.add(path.name)
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                given = {k.arg or "": k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
                calls.append((path.name, name, given))
    assert tables == {"table.py"}
    consoles = [call for call in calls if call[1] == "Console"]
    assert {name for name, *_ in consoles} == {"telling.py", "show.py"}
    assert all(given["markup"] is False and given["emoji"] is False for *_, given in consoles)
    assert all(given.get("markup") is False for _, name, given in calls if name == "TextColumn")
    assert {name for name, call, _ in calls if call in ("add_row", "from_markup")} == {"table.py"}
