"""Whatever lies in hosts.yml: settings, or one SettingsError with a Fix. Never a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import SettingsError
from holdfast.settings.document import MAX_BYTES, parse_mapping, read_mapping
from holdfast.settings.loader import resolve, site

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.dates(), st.binary(max_size=20)
)
WORDS = "profile ssh gpus instances coder reasoner context port model open_webui login_user depot"
KEYS = st.one_of(st.sampled_from(WORDS.split()), st.text(max_size=12))
TREES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)), max_leaves=20
)


def read(raw: bytes) -> str:
    """Everything that a command does with the file; the outcome in a word."""
    try:
        blocks = parse_mapping(raw, "hosts.yml")
        for name, block in blocks.items():
            resolve(site(name, block, "hosts.yml"))
    except SettingsError as error:
        assert error.render().splitlines()[-1].startswith("Fix: ")
        return "refused"
    return "read"


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    read(raw)


@given(st.dictionaries(st.one_of(st.just("gpu-box"), st.text(max_size=10)), TREES, max_size=3))
def test_any_document(document: dict[str, Any]) -> None:
    read(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@given(TREES, st.lists(KEYS, max_size=3))
def test_any_value_anywhere_in_a_good_block(value: Any, path: list[str]) -> None:
    block: Any = value
    for key in reversed(path):
        block = {key: block}
    good = {"profile": "cpu", "login_user": "ada"}
    document = {"gpu-box": {**good, **block} if isinstance(block, dict) else block}
    read(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"a: &x {b: 1}\nc: *x\n", "alias"),
        (b"a: &x [*x]\n", "alias"),
        (b"a: 1\na: 2\n", "twice"),
        (b"a:\n  <<: {b: 1}\n", "a merge key (<<) is not allowed here\n  at: hosts.yml:2:3"),
        (b"a:\n  <<: {b: 1}\n", "Fix: write out the keys that it would bring: hosts.yml:2:3"),
        (b"a: <<\n", "a value with the tag 'merge' is not allowed here"),
        (b"a: !mine {b: 1}\n", "a value with the tag '!mine' is not allowed here\n  at: hosts.yml:1:4"),
        (b"1: 2\n", "not a word"),
        (b"a: {b: [\n", "YAML"),
        ("a: ü\n".encode("latin-1"), "UTF-8"),
        ("a: b\n".encode("utf-16"), "UTF-8"),
        (b"- a\n", "list"),
        (b"a: " + b"[" * 3000, "Fix"),
        (b"a: " + b"9" * 6000, "Fix"),
        (b"a: 2001-99-99\n", "Fix"),
        (b"#" * (MAX_BYTES + 1), "bytes"),
        (b"a: !!python/object/apply:os.system [id]\n", "a value with the tag"),
    ],
)
def test_the_known_traps(raw: bytes, word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        blocks = parse_mapping(raw, "hosts.yml")
        resolve(site("a", blocks["a"], "hosts.yml"))
    assert word in caught.value.render()


def test_a_good_file_is_read() -> None:
    assert read(b"\xef\xbb\xbfgpu-box: {profile: cpu, login_user: ada}\n") == "read"


def test_what_has_no_end_or_never_begins_is_refused_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (Path("/dev/zero"), tmp_path / "fifo", tmp_path):
        with pytest.raises(SettingsError, match="no plain file"):
            read_mapping(path)
    (tmp_path / "huge").write_bytes(b"#" * (MAX_BYTES + 2))
    with pytest.raises(SettingsError, match="more than"):
        read_mapping(tmp_path / "huge")
