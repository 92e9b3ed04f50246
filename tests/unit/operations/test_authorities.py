"""Which authorities are to be added and which to go, read from real files."""

from __future__ import annotations

from pathlib import Path

from holdfast.components.base.operations import read_authorities


def test_what_is_declared_and_what_is_not(tmp_path: Path) -> None:
    bundle, folder = tmp_path / "bundle.crt", tmp_path / "local"
    folder.mkdir()
    bundle.write_text("one\nthe distribution's\n")
    for name in ("holdfast-a.crt", "holdfast-old.crt", "holdfast-cut.crt.removed", "somebody-elses.crt"):
        (folder / name).write_text("x")
    declared = {"holdfast-a.crt": "one\n", "holdfast-b.crt": "two\n"}
    for name in ("holdfast-a.pem", "holdfast-gone.pem", "Another_CA.pem"):
        (tmp_path / name).symlink_to(folder / name.replace(".pem", ".crt"))
    found = read_authorities(str(bundle), str(folder), declared)
    assert found == {
        "untrusted": ["holdfast-b.crt"], "undeclared": ["holdfast-cut.crt", "holdfast-old.crt"], "stale": ["holdfast-gone.pem"],
    }  # fmt: skip
    nothing = {"untrusted": [], "undeclared": [], "stale": []}
    assert read_authorities(str(tmp_path / "no" / "ne"), str(tmp_path / "none"), {}) == nothing
