"""The reference of all settings, made from the options themselves: docs/settings.md and the JSON Schema for editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.paths import ROOT
from holdfast.settings.workstation import Workstation

DOCUMENT = ROOT / "docs" / "settings.md"
SCHEMA = ROOT / "docs" / "hosts.schema.json"

HEAD = """# Settings

Made from the options in `src/holdfast/components/*/options.py` by `python -m holdfast.settings.reference`; do not edit.
A host's block in `hosts.yml` lies over its profile (`group_data/<profile>.py`): mappings are merged, everything else
replaces, `null` removes. Editors check `hosts.yml` with `# yaml-language-server: $schema=docs/hosts.schema.json`.

| key | type | default | meaning |
|---|---|---|---|
"""


def schema() -> dict[str, Any]:
    """The JSON Schema of hosts.yml: host names to blocks; a profile supplies what a block leaves out."""
    block = Workstation.model_json_schema()
    definitions = block.pop("$defs", {})
    for part in [block, *definitions.values()]:
        # Keys without a default may stand in the profile instead.
        part.pop("required", None)
    block["properties"].pop("name")
    # A card may be its address alone (settings/gpu.py).
    definitions["Gpu"] = {"anyOf": [{"type": "string"}, definitions["Gpu"]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Holdfast hosts.yml",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/Host"},
        "$defs": {**definitions, "Host": block},
    }


def _type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return "mapping"
    if "anyOf" in part:
        return " or ".join(_type(p) for p in part["anyOf"])
    if "enum" in part:
        return ", ".join(f"`{v}`" for v in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    kind = str(part.get("type", "any"))
    limits = [f"≥ {part['minimum']}"] if "minimum" in part else []
    limits += [f"≤ {part['maximum']}"] if "maximum" in part else []
    return f"{kind} {' '.join(limits)}".strip()


def _rows(part: dict[str, Any], prefix: str, definitions: dict[str, Any]) -> Iterator[str]:
    for key, value in part.get("properties", {}).items():
        if prefix == "" and key == "name":
            continue
        path = f"{prefix}{key}"
        held = [value, value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
        inner = next((part["$ref"] for part in held if isinstance(part, dict) and "$ref" in part), None)
        if isinstance(inner, str) and value.get("type") != "array":
            target = definitions[inner.rsplit("/", 1)[1]]
            if "properties" in target:
                below = f"{path}." if "$ref" in value else f"{path}.NAME."
                meaning = value.get("description", target.get("description", "")).replace("|", "\\|")
                yield f"| **{path}** | | | {meaning} |"
                yield from _rows(target, below, definitions)
                continue
        default = "" if "default" not in value else f"`{json.dumps(value['default'])}`"
        text = value.get("description", "").replace("|", "\\|")
        if value.get("examples"):
            text += f" Example: `{json.dumps(value['examples'][0])}`."
        yield f"| `{path}` | {_type(value)} | {default} | {text} |"


def document() -> str:
    """The text of docs/settings.md."""
    block = Workstation.model_json_schema()
    return HEAD + "\n".join(_rows(block, "", block.get("$defs", {}))) + "\n"


def files() -> dict[Path, str]:
    """Every generated file: path -> text as it should be."""
    return {DOCUMENT: document(), SCHEMA: json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"}


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
