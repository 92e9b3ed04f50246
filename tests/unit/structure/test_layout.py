"""The house rules: which room may know which, how large a file may be, and what stands in no file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from holdfast.paths import ROOT, TEMPLATES

SRC = ROOT / "src"
HOLDFAST = SRC / "holdfast"

# Which folders of src/holdfast a folder may import from (besides itself). docs/development.md draws the same arrows.
ARROWS: dict[str, set[str]] = {
    "root": set(),  # apt, errors, paths, proc, progress, render, uv, yaml_edit
    "fit": {"root"},
    "settings": {"root", "fit", "components.options", "lab.state"},
    "operations": {"root", "depot"},
    "components": {"root", "fit", "settings", "operations", "depot", "holdfast_onhost"},
    "depot": {"root", "holdfast_onhost"},
    "lab": {"root", "depot"},
    "apply": {"root", "settings", "operations"},
    "bench": {"root", "fit", "settings", "bench.onhost"},
    "bench.onhost": set(),  # sent to the machine by stdin
    "cli": {"root", "fit", "settings", "operations", "components", "depot", "lab", "apply", "bench"},
    "holdfast_onhost": set(),
}


def tracked(pattern: str = "") -> list[Path]:
    """Files that git tracks or would track."""
    out = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *([pattern] if pattern else [])],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / line for line in out.splitlines() if (ROOT / line).is_file()]


def imports(path: Path) -> set[str]:
    """Modules that ``path`` imports, dotted; names of ``from holdfast import x`` as holdfast.x."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            out |= {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def room(module: str) -> str:
    """The room of a dotted module of holdfast, or of the on-host programs, which are one room."""
    if module.split(".")[0] == "holdfast_onhost":
        return "holdfast_onhost"
    parts = module.split(".")[1:]
    folder = parts[0] if parts and (HOLDFAST / parts[0]).is_dir() else "root"
    if parts[:2] == ["bench", "onhost"]:
        return "bench.onhost"
    if folder == "components" and "options" in parts:
        return "components.options"
    if folder == "lab" and len(parts) > 1 and parts[1] == "state":
        return "lab.state"
    return folder


def arrows() -> set[tuple[str, str, str]]:
    """(from room, to room, file) for every import within holdfast and the on-host programs."""
    out = set()
    for path in [*HOLDFAST.rglob("*.py"), *(SRC / "holdfast_onhost").rglob("*.py")]:
        onhost = not path.is_relative_to(HOLDFAST)
        relative = path.relative_to(SRC if onhost else HOLDFAST)
        here = relative.parts[0] if len(relative.parts) > 1 else "root"
        if relative.parts[:2] == ("bench", "onhost"):
            here = "bench.onhost"
        for module in imports(path):
            if module.split(".")[0] in ("holdfast", "holdfast_onhost"):
                there = room(module)
                if here not in (there, there.split(".")[0]) or there == "bench.onhost" != here:
                    out.add((here, there, str(relative)))
    return out


def test_rooms_know_only_the_rooms_they_may() -> None:
    found = arrows()
    assert ("components", "operations", "base/deploy.py") in {(a, b, f.removeprefix("components/")) for a, b, f in found}
    assert ("bench", "bench.onhost", "bench/proofs.py") in found
    assert ("components", "holdfast_onhost", "components/models/pins.py") in found
    wrong = sorted(
        (a, b, f) for a, b, f in found if b not in ARROWS[a] and b.split(".")[0] not in ARROWS[a] and f != "__main__.py"
    )
    assert not wrong, wrong


def test_the_documented_arrows_are_these() -> None:
    text = (ROOT / "docs" / "development.md").read_text()
    drawn = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"\| `([\w.]+)` \| (.*) \|", line):
            drawn[found[1]] = set(re.findall(r"`([\w.]+)`", found[2]))
    assert drawn == ARROWS


def test_on_host_programs_use_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"holdfast_onhost"}
    own = {p.stem for p in (SRC / "holdfast_onhost").glob("*.py")}
    for path in (SRC / "holdfast_onhost").rglob("*.py"):
        strange = {m.split(".")[0] for m in imports(path)} - allowed - own
        assert not strange, (path.name, strange)
    # Sent to the machine by stdin, a folder of its own.
    for path in (HOLDFAST / "bench" / "onhost").glob("*.py"):
        strange = {m for m in imports(path) if m.split(".")[0] not in allowed and not m.startswith("holdfast.bench.onhost")}
        assert not strange, (path.name, strange)


def test_no_file_is_long() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in tracked("*.py") + tracked("*.j2")
        if (n := len(p.read_text().splitlines())) > 300
    }
    assert not long, long


def test_components_and_templates_do_not_know_the_lab() -> None:
    files = [
        *(HOLDFAST / "components").rglob("*.py"), *(HOLDFAST / "operations").rglob("*.py"),
        *(SRC / "holdfast_onhost").rglob("*.py"), *(p for p in TEMPLATES.rglob("*") if p.is_file()),
    ]  # fmt: skip
    word = re.compile(r"\blab\b|\bLab\b")
    assert word.search("a lab here") and not word.search("available label")
    found = {str(p.relative_to(ROOT)) for p in files if word.search(p.read_text())}
    assert not found, found


def test_components_read_no_profile_and_no_host_data() -> None:
    pattern = re.compile(r"\.profile\b|host\.data\b")
    assert pattern.search("ws.profile") and pattern.search("host.data.x")
    found = [
        f"{p.relative_to(ROOT)}: {line.strip()}"
        for p in [*(HOLDFAST / "components").rglob("*.py"), *(HOLDFAST / "operations").rglob("*.py")]
        for line in p.read_text().splitlines()
        if pattern.search(line)
    ]
    assert not found, found


def test_deploy_files_parse_nothing_and_never_branch_on_changes() -> None:
    pattern = re.compile(r"\.changed\b|will_change|did_change|any_changed|\b_if\s*=|python\.call|\.splitlines\(|json\.loads")
    assert pattern.search("_if=x") and pattern.search("op.changed")
    found = [
        f"{p.relative_to(ROOT)}: {line.strip()}"
        for p in (HOLDFAST / "components").rglob("deploy.py")
        for line in p.read_text().splitlines()
        if pattern.search(line)
    ]
    assert not found, found


def operations() -> set[str]:
    """Every function under @operation()."""
    return {
        node.name
        for path in HOLDFAST.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Call) and getattr(d.func, "id", "") == "operation" for d in node.decorator_list)
    }


def nameless(source: str, known: set[str]) -> list[int]:
    """Lines of calls of ``known`` without a name that begins with a capital."""
    out = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
            names = [k.value.value for k in node.keywords if k.arg == "name" and isinstance(k.value, ast.Constant)]
            has = any(k.arg == "name" for k in node.keywords)
            if not has or any(not str(n)[:1].isupper() for n in names):
                out.append(node.lineno)
    return out


def test_every_operation_call_has_a_name() -> None:
    known = operations()
    assert {"place", "unit", "require", "membership", "retire_bootstrap"} <= known
    assert "read_unit" not in known
    calls = "membership(name='Join', want=1)\nmembership(want=1)\nrequire(name='join', problem=None)\nother()\n"
    assert nameless(calls, known) == [2, 3]
    files = list((HOLDFAST / "components").rglob("deploy.py"))
    found = [f"{path.relative_to(ROOT)}:{line}" for path in files for line in nameless(path.read_text(), known)]
    assert not found, found


def holding(files: Iterable[Path], words: Iterable[str]) -> list[tuple[Path, str]]:
    """(file, word) wherever one of ``words`` stands in one of ``files``."""
    return [(path, word) for path in files for word in words if word.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "words",
    [
        # The hosts of package registries: tools know them, and users may have mirrors of their own.
        ["pypi." + "org", "python" + "hosted.org", "deb." + "debian.org", "proxy.go" + "lang.org", "registry.npm" + "js.org"],
        ["/ro" + "ot/.cache", "/wo" + "rk/"],
        ["BEGIN OPENSSH PRIV" + "ATE KEY", "BEGIN PRIV" + "ATE KEY", "tskey-auth-" + "k"],
    ],
)
def test_what_stands_in_no_file(words: list[str], tmp_path: Path) -> None:
    planted = [(tmp_path / str(number), word) for number, word in enumerate(words)]
    for path, word in planted:
        path.write_bytes(b"\xff before " + word.encode() + b" after\n")
    assert holding([path for path, _ in planted], words) == planted, "each of them is seen"
    files = tracked()
    assert {ROOT / "README.md", Path(__file__)} <= set(files)
    found = [f"{path.relative_to(ROOT)}: {word}" for path, word in holding(files, words)]
    assert not found, found


def test_no_binary_is_tracked() -> None:
    binary = [str(p.relative_to(ROOT)) for p in tracked() if b"\0" in p.read_bytes()[:4096]]
    assert not binary, binary
