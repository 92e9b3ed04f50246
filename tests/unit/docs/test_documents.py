"""What the documents show is what there is: settings that the loader takes, files that exist, words that the code says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import boundaries
from holdfast.components.models import pins
from holdfast.errors import HoldfastError
from holdfast.paths import ROOT, TEMPLATES
from holdfast.settings.document import parse_mapping
from holdfast.settings.loader import profiles, resolve
from holdfast.settings.merge import merge
from holdfast.settings.workstation import Workstation

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = ROOT / "hosts.example.yml"


def example() -> dict[str, Any]:
    return parse_mapping(EXAMPLE.read_bytes(), EXAMPLE.name)


def check(text: str, where: str) -> list[Workstation]:
    """The hosts of a YAML block. One that names no person shows only what differs: it lies over hosts.example.yml."""
    found = parse_mapping(text.encode(), where)
    assert found, f"{where}: an empty block"
    below = example()["gpu-box"]
    return [resolve({**merge({} if "login_user" in site else below, site), "name": name}) for name, site in found.items()]


def test_the_example_is_valid_by_itself() -> None:
    for name, site in example().items():
        assert "profile" in site
        assert resolve({**site, "name": name}).name == name


def test_a_wrong_block_is_seen() -> None:
    with pytest.raises(HoldfastError, match="contxt"):
        check("gpu-box:\n  instances:\n    coder: {contxt: 5}\n", "here")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_yaml_in_documents_is_valid(document: Path) -> None:
    for block in re.findall(r"^```ya?ml\n(.*?)^```", document.read_text("utf-8"), re.M | re.S):
        check(block, document.name)


def test_the_readme_shows_a_machine_in_fifteen_lines() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 1 and len(blocks[0].splitlines()) <= 15
    assert check(blocks[0], "README.md")[0].profile == "dual_3090"


def anchors(text: str) -> set[str]:
    """The names that Markdown gives to headings."""
    heads = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def broken(document: Path, text: str) -> list[str]:
    """Relative links that lead nowhere."""
    out = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            out.append(link)
    return out


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    assert broken(ROOT / "README.md", "[a](no.md) [b](README.md#no) [c](README.md#hardware)") == ["no.md", "README.md#no"]
    assert not broken(document, document.read_text("utf-8"))


def test_the_readme_links_every_document() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    missing = [path.name for path in (ROOT / "docs").glob("*.md") if f"(docs/{path.name}" not in text]
    assert not missing


def test_the_table_of_promises_is_fresh() -> None:
    text = boundaries.DOCUMENT.read_text("utf-8")
    fresh = boundaries.document(text)
    stale = text.replace("| Promise |", "| Promises |")
    assert boundaries.document(stale) == fresh != stale
    assert text == fresh, "stale. Fix: python -m holdfast.cli.boundaries"
    assert len(boundaries.promises()) > 15 and all(p["words"] in text for p in boundaries.promises())


def test_a_document_without_the_marks_is_an_error() -> None:
    with pytest.raises(HoldfastError, match="marks"):
        boundaries.document("no marks here")


def test_the_unit_settings_that_hold_the_boundaries_are_in_the_units() -> None:
    text = boundaries.DOCUMENT.read_text("utf-8").partition("## How each is held")[2].partition("## How to check")[0]
    named = re.findall(r"`([A-Z]\w+=[^`]*)`", text)
    units = "\n".join(p.read_text("utf-8") for p in TEMPLATES.rglob("*.j2"))
    assert len(named) > 10
    assert [setting for setting in [*named, "ProtectHome=no"] if setting not in units] == ["ProtectHome=no"]


@pytest.mark.parametrize("document", ["README.md", "docs/hardware.md"])
def test_the_hardware_tables_are_the_profiles(document: str) -> None:
    rows = {m[1]: m[0] for m in re.finditer(r"(?m)^\| `(\w+)` \|.*$", (ROOT / document).read_text("utf-8"))}
    assert set(rows) == set(profiles())
    for name, literals in profiles().items():
        for instance in literals["instances"].values():
            assert f"`{instance['model']}`" in rows[name], (name, instance["model"])


def test_models_in_the_documents_are_in_the_lock() -> None:
    known = {*pins.lock(), "qwen2.5-coder:14b"}  # the last one stands for a model of the reader's own
    named = {m for path in DOCUMENTS for m in re.findall(r"(?:qwen2\.5-coder|deepseek-r1):[\w.]*\w", path.read_text("utf-8"))}
    assert {"qwen2.5-coder:32b", "deepseek-r1:70b"} <= named <= known


def symptoms(text: str) -> list[str]:
    """The parts of the messages in the first column of the tables: `could not …` -> "could not"."""
    cells = re.findall(r"(?m)^\| (`.*?) \| .* \| .* \|$", text)
    quoted = [words for cell in cells for words in re.findall(r"`([^`]+)`", cell)]
    return [part.strip() for words in quoted for part in words.split("…") if part.strip()]


def test_the_symptoms_are_what_the_code_says() -> None:
    files = [*(ROOT / "src").rglob("*.py"), *TEMPLATES.rglob("*.j2"), ROOT / "holdfast"]
    code = "\n".join(path.read_text("utf-8") for path in files)
    # Strings that are continued on the next line, and values that are filled in, are one sentence to a reader.
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    found = symptoms((ROOT / "docs" / "troubleshooting.md").read_text("utf-8"))
    assert len(found) > 30
    elsewhere = {
        "journalctl -u ollama@coder", "up", "up --release trixie",  # commands
        "tailnet policy does not permit you to SSH to this node",  # Tailscale's own words
        "unexpected:", "could not join the tailnet", "could not publish Open WebUI",  # put together when they happen
    }  # fmt: skip
    control = "nobody says this"
    assert [words for words in [*found, control] if words not in elsewhere and words not in code] == [control]
