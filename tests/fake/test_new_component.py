"""A component in five steps, as docs/development.md has them: done in a copy of this checkout, applied twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from holdfast.paths import ROOT

OPTIONS = '''"""Options of the greeting."""

from __future__ import annotations

from pydantic import Field

from holdfast.settings.section import Section


class Options(Section):
    """What the machine says to those who log in."""

    words: str = Field(default="welcome", max_length=80, description="One line.", examples=["hello"])
'''
DEPLOY = '''"""A greeting."""

from __future__ import annotations

from pyinfra.api import deploy

from holdfast.operations.place import File, place
from holdfast.render import render
from holdfast.settings import Workstation


@deploy("Greeting")
def greeting(ws: Workstation) -> None:
    """For everybody who logs in."""
    text = render("greeting/etc/motd.j2", words=ws.greeting.words)
    place(name="Write the greeting", entries=[File("/etc/motd", text)])
'''
APPLY = """
import json, sys
from tests.fake import engine, world
from holdfast.paths import ROOT
from holdfast.settings.reference import files
for path, text in files().items():
    path.write_text(text)
machine, site = world.machine(), json.loads(sys.argv[1])
runs = [engine.run(machine, site) for _ in range(2)]
print(json.dumps({
    "root": str(ROOT), "failed": [r.failed for r in runs], "changed": [r.changed for r in runs],
    "motd": machine.text("/etc/motd"),
}))
"""


def five_steps(root: Path) -> None:
    """Follows "Add a component in five steps" in the checkout at ``root``; the tests of step 5 are this file's."""
    source = root / "src" / "holdfast"
    # 1. Options, and their place among the settings.
    folder = source / "components" / "greeting"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A greeting for those who log in."""\n')
    (folder / "options.py").write_text(OPTIONS)
    settings = source / "settings" / "workstation.py"
    text = settings.read_text()
    imported = "from holdfast.components.models.options import"
    text = text.replace(imported, f"from holdfast.components.greeting.options import Options as Greeting\n{imported}", 1)
    field = "    base: Base = "
    text = text.replace(field, f'    greeting: Greeting = Field(default_factory=Greeting, description="Words.")\n{field}', 1)
    settings.write_text(text)
    # 2. What it does.
    (folder / "deploy.py").write_text(DEPLOY)
    # 3. Its template, at the path on the host.
    (root / "templates" / "greeting" / "etc").mkdir(parents=True)
    (root / "templates" / "greeting" / "etc" / "motd.j2").write_text("{{ words }}\n")
    # 4. A line in deploy.py (and its import).
    deploy = (root / "deploy.py").read_text()
    imported = "from holdfast.components.greeting.deploy import greeting\n"
    deploy = deploy.replace("from holdfast.settings", f"{imported}from holdfast.settings", 1)
    (root / "deploy.py").write_text(deploy + "greeting(ws)\n")


def test_five_steps(site: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("src", "templates", "group_data", "docs", "locks", "tests/fake"):
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    for name in ("deploy.py", "tests/clock.py"):
        shutil.copy(ROOT / name, root / name)
    steps = (root / "docs" / "development.md").read_text().partition("## Add a component in five steps")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d)\. ", steps, re.M) == ["1", "2", "3", "4", "5"], "the page and this test belong together"
    five_steps(root)

    own = {**site, "greeting": {"words": "mind the cat"}}
    done = subprocess.run(
        [sys.executable, "-c", APPLY, json.dumps(own)], cwd=root, env={**os.environ, "PYTHONPATH": "src:."},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["root"] == str(root), "the copy was used"
    assert out["failed"] == [False, False]
    assert "Greeting | Write the greeting" in out["changed"][0] and out["changed"][1] == []
    assert out["motd"] == "mind the cat\n"
    assert "greeting.words" in (root / "docs" / "settings.md").read_text()
    assert '"greeting"' in (root / "docs" / "hosts.schema.json").read_text()


def test_the_component_is_not_known_without_the_steps(site: dict[str, Any]) -> None:
    """Control."""
    from holdfast.errors import SettingsError
    from holdfast.settings.loader import resolve

    resolve(site)
    try:
        resolve({**site, "greeting": {"words": "mind the cat"}})
    except SettingsError as error:
        assert "gpu-box.greeting: unknown key" in error.render()
    else:
        raise AssertionError("an unknown section was taken")


