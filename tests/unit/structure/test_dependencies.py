"""What is installed is used, and says why it is."""

from __future__ import annotations

import re
import tomllib

from holdfast.paths import ROOT

# Distribution -> the module that is imported, where the names differ.
MODULES = {"pyyaml": "yaml", "pytest-testinfra": "testinfra", "python-socketio": "socketio"}
# Never imported: run as programs, read by mypy, loaded by pytest.
TOOLS = {"ruff", "mypy", "types-pyyaml", "pytest-xdist"}


def declared() -> set[str]:
    """Names of the direct dependencies, those for development among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    words = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    return {str(re.match(r"[\w.-]+", word)[0]) for word in words}  # type: ignore[index]


def imported() -> set[str]:
    found = set()
    for folder in ("src", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text("utf-8"), re.M))
    return found


def test_every_dependency_is_imported() -> None:
    seen = imported()
    assert "pyinfra" in seen and "no_such_module" not in seen
    assert [name for name in sorted(declared() - TOOLS) if MODULES.get(name, name) not in seen] == []


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "development.md").read_text("utf-8")
    table = text.partition("## Dependencies")[2].partition("\n## ")[0]
    told = {name.strip() for row in re.findall(r"^\| ([^|]+) \|", table, re.M) for name in row.split(",")}
    assert told - {"package", "---"} == declared() - {"types-pyyaml"}
