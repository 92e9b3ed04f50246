from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import depot
from holdfast.depot import lock
from holdfast.errors import HoldfastError


def test_the_committed_lock() -> None:
    pins = lock.load()
    assert {"ollama", "tailscale", "headscale"} <= set(pins)
    for pin in pins.values():
        assert pin.version in pin.url or pin.name.endswith("-keyring")
        assert "{version}" not in pin.url + pin.file
        assert (pin.size is None) == (pin.sha256 is None)
    assert pins["ollama"].file == f"ollama/{pins['ollama'].version}/ollama-linux-amd64.tar.zst"


def test_update_writes_the_hash_of_the_bytes_and_keeps_everything_else(lab, vendor) -> None:
    before = lab.lock.read_text()
    pin = depot.update("other")
    assert (pin.size, pin.sha256) == (len(vendor.body), vendor.sha)
    after = lab.lock.read_text()
    # only the two values of `other` differ; the comments stay
    expected = before.replace("sha256: unverified # nobody knows", f"sha256: {vendor.sha} # nobody knows")
    head, tail = expected.rsplit("size: unverified", 1)
    assert after == f"{head}size: {len(vendor.body)}{tail}"
    assert not lock.pin("tool").verified
    assert [p.name for p in lab.locks.iterdir() if p.name.startswith(".")] == []


def test_update_that_fails_leaves_the_lock(lab, vendor) -> None:
    before, vendor.status = lab.lock.read_text(), 404
    with pytest.raises(HoldfastError, match="404"):
        depot.update("other")
    assert lab.lock.read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('version: "1.2"', "version: 1.2", "version"),
        ("size: unverified", "size: -3", "size"),
        ("size: unverified", "size: true", "size"),
        ("sha256: unverified", "sha256: abc", "sha256"),
        ("file: other/other", "file: ../x", "file"),
        ("file: other/other", "file: /etc/x", "file"),
        ("licence: MIT", "license: MIT", "license"),
        ("artifacts:", "artefacts:", "artifacts"),
        ("artifacts:", "artifacts: [", "artifacts.yml"),
    ],
)
def test_bad_locks_are_named(lab, old: str, new: str, says: str) -> None:
    assert lock.load()
    lab.lock.write_text(lab.lock.read_text().replace(old, new))
    with pytest.raises(HoldfastError) as e:
        lock.load()
    assert says in e.value.render()


def test_a_lock_that_is_no_text(lab) -> None:
    lab.lock.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HoldfastError):
        lock.load()


def test_unknown_name_lists_the_known(lab) -> None:
    with pytest.raises(HoldfastError) as e:
        lock.pin("olama")
    assert e.value.code == 2 and "other, tool" in e.value.render()


def test_go_modules_have_the_locked_versions() -> None:
    for name in ("ollama", "tailscale", "headscale"):
        folder = Path(lock.lock_file()).parent / "go" / name
        assert f" v{lock.pin(name).version}" in (folder / "go.mod").read_text()
        assert (folder / "go.sum").read_text().count("h1:") > 50
