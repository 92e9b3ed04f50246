"""The real pyinfra program with @fake leading to a simulated machine: ``python -m tests.fake.cli SITE.json WORD…``.

Prints what the machine heard as the last line of stdout: [[command line, standard input], …].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyinfra_cli.main import cli
from tests.fake import engine, world

INVENTORY = "import json\nall = [(%r, json.load(open(%r)))]\n"


def main(file: str, *words: str) -> int:
    """Applies the host data in ``file`` with these words of pyinfra's; its exit status."""
    inventory = Path(file).with_name("inventory.py")
    inventory.write_text(INVENTORY % (engine.HOST, file))
    machine = world.machine(python=False)
    status = 0
    with engine.connected(machine):
        try:
            cli([str(inventory), "deploy.py", *words], standalone_mode=False)
        except SystemExit as end:
            status = int(end.code or 0)
    print("\n" + json.dumps({"heard": machine.heard, "changes": machine.changes}))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
