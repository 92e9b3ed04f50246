"""The lab's models: the same bytes every time, and answers that hang together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import gguf
import pytest

from holdfast.components.models.pins import lock
from holdfast.errors import HoldfastError
from holdfast.lab.models import layout, make, roles
from holdfast.lab.models.chain import Kind, Vocabulary, answers, loop, pieces


def said(vocabulary: Vocabulary, key: str) -> str:
    """Walks the chain as the model does."""
    token, out = vocabulary.tokens.index(f"<|{key}|>"), []
    for _ in range(1000):
        token = vocabulary.follows.get(token, vocabulary.fallback)
        if vocabulary.tokens[token] == "</s>":
            return "".join(out).replace("▁", " ")
        out.append(vocabulary.tokens[token])
    raise AssertionError("it never ends")


def test_every_answer_is_walked_to_its_end() -> None:
    texts = {"talk": "I am here .", "edit": "a\n```\n    return 1\n```\n    return 1\n```\n", "plan": "I am there ."}
    vocabulary = answers(texts, "talk")
    assert {key: said(vocabulary, key) for key in texts} == texts
    assert vocabulary.tokens[vocabulary.fallback].startswith("I")
    assert len(set(vocabulary.tokens)) == len(vocabulary.tokens)


def test_an_endless_answer_never_ends_and_the_others_still_do() -> None:
    vocabulary = answers({"talk": "I am here ."}, "talk", {"story": ("wave", "wind")})
    assert said(vocabulary, "talk") == "I am here ."
    with pytest.raises(AssertionError, match="never ends"):
        said(vocabulary, "story")


def test_heads_are_a_multiple_of_32_wide_for_a_quantized_cache(tmp_path: Path) -> None:
    for role, write in (("coder", roles.write_coder), ("reasoner", roles.write_reasoner), ("loop", roles.write_loop)):
        write(tmp_path / role)
        fields = gguf.GGUFReader(tmp_path / role)
        for part in ("key", "value"):
            assert fields.get_field(f"llama.attention.{part}_length").contents() % 32 == 0
        assert fields.get_field("llama.context_length").contents() >= 16384


def test_text_that_repeats_another_cannot_be_cut() -> None:
    used: set[str] = set()
    assert "".join(pieces("one two", used)) == "one▁two"
    with pytest.raises(ValueError, match="another answer"):
        pieces("one", {"one"})


def test_loop_alternates_and_refuses_a_single_word() -> None:
    vocabulary = loop(("tick", "tock"))
    first = vocabulary.fallback
    second = vocabulary.follows[first]
    assert (vocabulary.tokens[first], vocabulary.tokens[second]) == ("▁tick", "▁tock")
    assert vocabulary.follows[second] == first
    assert vocabulary.kinds[first] is Kind.NORMAL
    with pytest.raises(ValueError, match="two different words"):
        loop(("tick", "tick"))


def test_same_bytes_every_time_and_every_blob_is_its_digest(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert first == second
    assert list(first) == [role.model for role in roles.ROLES]
    for model, digest in first.items():
        raw = (tmp_path / "a" / "manifests" / "library" / model.replace(":", "/")).read_bytes()
        assert "sha256:" + hashlib.sha256(raw).hexdigest() == digest
        manifest = json.loads(raw)
        for entry in [*manifest["layers"], manifest["config"]]:
            data = layout.blob_path(tmp_path / "a", entry["digest"]).read_bytes()
            assert ("sha256:" + hashlib.sha256(data).hexdigest(), len(data)) == (entry["digest"], entry["size"])


def test_another_file_can_be_served_for_a_role(tmp_path: Path) -> None:
    roles.write_loop(tmp_path / "loop.gguf")
    plain, other = make(tmp_path / "a"), make(tmp_path / "b", {"coder": tmp_path / "loop.gguf"})
    assert other[roles.CODER.model] != plain[roles.CODER.model]
    assert other[roles.REASONER.model] == plain[roles.REASONER.model]
    with pytest.raises(HoldfastError, match="no role 'poet'"):
        make(tmp_path / "c", {"poet": tmp_path / "loop.gguf"})
    (tmp_path / "text").write_text("no model")
    with pytest.raises(HoldfastError, match="no GGUF file"):
        make(tmp_path / "d", {"coder": tmp_path / "text"})


def test_stand_ins_declare_what_the_real_models_do() -> None:
    models = lock()
    for role in roles.ROLES:
        assert sorted(models[role.model].capabilities) == sorted(role.capabilities)
