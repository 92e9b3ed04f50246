"""The join key: found where its reference says, never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from holdfast.components.tailscale.key import HIDDEN, AuthKey, required
from holdfast.components.tailscale.options import Options
from holdfast.errors import HoldfastError

SECRET = "tskey-auth-" + "kCANARY-0123456789"


@pytest.mark.parametrize(
    "given",
    [
        SECRET,
        ["x", SECRET],
        {"file": SECRET},
        {"env": SECRET},
        {"key": SECRET},
        {"key": "CANARY-of-another-shape"},
        {"file": "/a", "value": SECRET},
        "CANARY-of-another-shape",
    ],
)
def test_a_key_in_the_settings_is_refused_and_not_quoted(given: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Options.model_validate({"auth_key": given})
    assert HIDDEN in repr(caught.value.errors())
    for text in (str(caught.value), repr(caught.value.errors())):
        assert "CANARY" not in text


def test_another_wrong_value_is_quoted() -> None:
    # The positive control of the test above: pydantic does quote its input where nobody takes it away.
    with pytest.raises(ValidationError) as caught:
        Options.model_validate({"login_server": "CANARY"})
    assert "CANARY" in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"file": "/a", "env": "B"}, {"file": ""}])
def test_exactly_one_place(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="exactly one place"):
        AuthKey.model_validate(given)


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    assert required(AuthKey(file=str(file))) == SECRET


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_TEST_KEY", f" {SECRET} ")
    assert required(AuthKey(env="HOLDFAST_TEST_KEY")) == SECRET
    monkeypatch.delenv("HOLDFAST_TEST_KEY")
    with pytest.raises(HoldfastError, match="HOLDFAST_TEST_KEY is empty or not set"):
        required(AuthKey(env="HOLDFAST_TEST_KEY"))


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o600, "No such file"),
        (b"", 0o600, "is empty"),
        (b"a b\n", 0o600, "not one word"),
        (b"\xff\xfe", 0o600, "not text"),
        (SECRET.encode(), 0o644, "others on this computer may read"),
        (SECRET.encode(), 0o640, "others on this computer may read"),
        (SECRET.encode(), 0o620, "others on this computer may read"),
    ],
)
def test_what_is_no_key(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(HoldfastError) as caught:
        required(AuthKey(file=str(file)))
    text = caught.value.render()
    assert words in text and text.splitlines()[-1].startswith("Fix: ") and "CANARY" not in text


def test_no_reference_at_all() -> None:
    with pytest.raises(HoldfastError, match="names no key"):
        required(None)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        # An OAuth client's secret makes an ephemeral node unless told otherwise; in an ordinary key "?" is a letter.
        ("tskey-client-a", "tskey-client-a?ephemeral=false&preauthorized=true"),
        ("tskey-client-a?ephemeral=true", "tskey-client-a?ephemeral=true"),
        ("tskey-auth-a", "tskey-auth-a"),
        ("hskey-auth-a", "hskey-auth-a"),
    ],
)
def test_the_form_that_up_takes(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    monkeypatch.setenv("HOLDFAST_TEST_KEY", given)
    assert required(AuthKey(env="HOLDFAST_TEST_KEY")) == used


def test_a_dump_of_the_options_has_the_reference_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_TEST_KEY", SECRET)
    options = Options(auth_key=AuthKey(env="HOLDFAST_TEST_KEY"))
    assert "HOLDFAST_TEST_KEY" in options.model_dump_json() and SECRET not in options.model_dump_json()


@pytest.mark.parametrize(
    ("options", "scheme", "port"),
    [
        ({}, "https", 443),
        ({"login_server": "https://hs.example"}, "http", 80),
        ({"login_server": "https://hs.example", "serve_scheme": "https"}, "https", 443),
        ({"serve_scheme": "http"}, "http", 80),
    ],
)
def test_scheme(options: dict[str, str], scheme: str, port: int) -> None:
    made = Options.model_validate(options)
    assert (made.scheme, made.port) == (scheme, port)
