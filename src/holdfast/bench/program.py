"""holdfast.bench.onhost as one text that a machine's Python reads from its stdin: nothing of it is installed there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PACKAGE = "holdfast.bench.onhost"
_HERE = Path(__file__).parent / "onhost"
_LOADER = """\
import importlib.machinery, json, sys, types
# By this name an apply knows that a measurement is under way, also between two answers (components.nvidia.activity).
with open("/proc/self/comm", "w") as f:
    f.write("holdfast-bench")
sources, job = json.loads({given})
for name in ("holdfast", "holdfast.bench", {package}):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in sources else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(sources[module.__name__], module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Finder())
from {package_name}.main import main
sys.exit(main(job))
"""


def program(job: dict[str, Any]) -> str:
    """The text: the modules, and ``job`` for them. It holds no secret, and is in no argv."""
    sources = {f"{_PACKAGE}.{path.stem}": path.read_text("utf-8") for path in sorted(_HERE.glob("[a-z]*.py"))}
    given = json.dumps(json.dumps([sources, job]))
    return _LOADER.format(given=given, package=json.dumps(_PACKAGE), package_name=_PACKAGE)
