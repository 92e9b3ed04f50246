"""Which hashes a machine's programs are compared with: only those of the file that it took."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.paths import ROOT

sys.path.insert(0, str(ROOT))

from tests.verify import locks

MEMBERS = {"bin/ollama": "c" * 64}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``record(**changes)`` writes what lies in the depot; the lock pins version 1 with the hash aaa…"""
    pin = {"artifacts": {"ollama": {"version": "1", "sha256": "a" * 64}}}
    (tmp_path / "artifacts.yml").write_text(json.dumps(pin))
    monkeypatch.setattr(locks, "LOCKS", tmp_path)
    monkeypatch.setattr(locks, "cache_dir", lambda: tmp_path)

    def write(**changes: Any) -> None:
        entry = {"version": "1", "sha256": "a" * 64, "members": MEMBERS, **changes}
        (tmp_path / "built.json").write_text(json.dumps({"ollama": entry}))

    return write


def test_a_depots_machine_has_what_lies_in_the_depot(record: Any) -> None:
    record(sha256="b" * 64)
    assert locks.members("ollama", "http://nas.lan/depot") == MEMBERS


def test_the_vendors_release_is_compared_with_itself_only(record: Any) -> None:
    record()
    assert locks.members("ollama", "") == MEMBERS
    record(sha256="b" * 64)  # built here
    with pytest.raises(pytest.skip.Exception, match=r"from its vendor.*holdfast depot fetch ollama"):
        locks.members("ollama", "")


@pytest.mark.parametrize("changes", [{"version": "0"}, {"members": {}}])
def test_a_record_of_something_else_says_nothing(record: Any, changes: dict[str, Any]) -> None:
    record(**changes)
    with pytest.raises(pytest.skip.Exception, match="no record of ollama 1"):
        locks.members("ollama", "/mnt/depot")
