"""The generated reference is not stale, and says something about every option."""

from __future__ import annotations

import json

from holdfast.settings.reference import SCHEMA, document, files


def test_generated_files_are_fresh() -> None:
    stale = [str(path.name) for path, text in files().items() if not path.exists() or path.read_text() != text]
    assert not stale, f"stale: {stale}. Fix: python -m holdfast.settings.reference"


def test_every_option_is_described() -> None:
    empty = [line for line in document().splitlines() if line.startswith("| ") and line.endswith("|  |")]
    assert not empty, empty


def test_the_schema_knows_the_keys_of_the_example() -> None:
    host = json.loads(SCHEMA.read_text())["$defs"]["Host"]
    assert {"profile", "ssh", "gpus", "tailscale", "instances"} <= set(host["properties"])
    assert host["additionalProperties"] is False
