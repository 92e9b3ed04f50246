"""What can be said about tests/verify without a machine: it refuses to run without one, and every check has its sabotage."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from collections.abc import Sequence

import pytest

from holdfast.paths import ROOT

sys.path.insert(0, str(ROOT))

from tests.lab import sabotage
from tests.verify.promises import promises, table

VERIFY = ROOT / "tests" / "verify"


class Seen:
    """A plugin that keeps what was collected and run."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []
        self.run: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.run.append(nodeid)


def pytest_on_verify(*words: str) -> tuple[int, Seen]:
    """pytest over tests/verify in this process (another one would take seconds to start)."""
    seen = Seen()
    status = pytest.main([str(VERIFY), "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *words], plugins=[seen])
    return int(status), seen


def name_of(item: pytest.Item) -> str:
    return item.nodeid.removeprefix("tests/verify/")


@pytest.fixture(scope="module")
def items() -> list[pytest.Item]:
    status, seen = pytest_on_verify("--collect-only")
    assert status == 0
    return seen.items


@pytest.fixture(scope="module")
def collected(items: list[pytest.Item]) -> set[str]:
    return {name_of(item) for item in items}


def test_it_refuses_to_run_without_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    status, seen = pytest_on_verify()
    said = "".join(capsys.readouterr())
    assert status == pytest.ExitCode.USAGE_ERROR, said
    assert not seen.run
    assert "which must be named" in said
    assert "Fix: ./holdfast verify NAME" in said


def test_every_check_has_a_sabotage_or_a_waiver(collected: set[str]) -> None:
    assert len(collected) > 40
    reddened = {name for s in sabotage.SABOTAGES for name in s.reddens}
    assert not collected - reddened - set(sabotage.WAIVED), "checks that nobody has seen fail"
    assert not (reddened | set(sabotage.WAIVED)) - collected, "sabotages of checks that do not exist"
    assert not reddened & set(sabotage.WAIVED), "waived, though there is a sabotage"


def test_a_check_without_a_sabotage_would_be_found(collected: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sabotage, "SABOTAGES", sabotage.SABOTAGES[1:])
    with pytest.raises(AssertionError, match="nobody has seen fail"):
        test_every_check_has_a_sabotage_or_a_waiver(collected)


@pytest.mark.parametrize("number", sabotage.BATCHES)
def test_scripts_are_shell(number: int) -> None:
    done = subprocess.run(["sh", "-n"], input=sabotage.script(sabotage.batch(number)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", sabotage.BATCHES)
def test_no_check_is_reddened_twice_in_a_batch(number: int) -> None:
    names = [name for s in sabotage.batch(number) for name in s.reddens]
    assert len(names) == len(set(names)), "whose work would its red be?"
    assert all(words for s in sabotage.batch(number) for words in s.reddens.values())


def test_promises_are_those_that_pytest_sees(items: list[pytest.Item]) -> None:
    marked = {(name_of(item), mark.args[0]) for item in items for mark in item.iter_markers("promise")}
    assert len(marked) > 10
    assert {(p.check, p.words) for p in promises()} == marked
    assert len({p.words for p in promises()}) == len(promises()), "one sentence is promised twice"
    assert all(p.words in table() for p in promises())


def imported(source: str) -> Sequence[str]:
    """The modules that a source imports."""
    out = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            out += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            out.append(node.module or "")
    return out


def test_it_shares_no_reader_with_the_deploy() -> None:
    allowed = {"holdfast.paths", "holdfast.settings"}
    files = sorted(VERIFY.rglob("*.py"))
    assert len(files) > 15
    shared = {f.name: [m for m in imported(f.read_text("utf-8")) if m.startswith("holdfast")] for f in files}
    assert not [(f, m) for f, modules in shared.items() for m in modules if m not in allowed]
    assert imported("from holdfast.components.ollama.facts import x") == ["holdfast.components.ollama.facts"]


@pytest.mark.parametrize("file", sorted((VERIFY / "look").glob("*.py")), ids=lambda f: f.stem)
def test_what_runs_on_the_machine_is_standard_library_and_short(file: object) -> None:
    text = getattr(file, "read_text")("utf-8")  # noqa: B009
    modules = {m.partition(".")[0] for m in imported(text)}
    assert modules <= set(sys.stdlib_module_names), modules
    # One argument of a command holds at most 128 KiB (MAX_ARG_STRLEN), and it travels on the command line.
    assert len(shlex.quote(text)) < 64 << 10
