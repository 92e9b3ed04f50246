"""The pure parts: rules, mount tables, certificates, keys of trees, comparison of snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import HoldfastError
from holdfast.lab import authority, cgroups, control, footprint, guest, network, snapshot, tree

HYBRID = """\
33 25 0:29 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 33 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
42 33 0:38 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
43 33 0:39 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----"


def test_control_groups_are_found_on_hybrid_and_unified_computers() -> None:
    assert cgroups.hierarchies(HYBRID) == [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified")]
    assert cgroups.hierarchies(UNIFIED) == [Path("/sys/fs/cgroup")]


def test_the_router_rejects_the_computers_own_addresses() -> None:
    rules = network.ruleset(["192.0.2.2", "198.51.100.7"])
    assert "elements = { 192.0.2.2, 198.51.100.7 };" in rules
    assert "elements" not in network.ruleset([])
    assert rules.count("{") == rules.count("}")


def test_a_bundle_is_taken_apart_and_what_debian_brings_is_left_out(tmp_path: Path) -> None:
    known = tmp_path / "usr/share/ca-certificates/mozilla"
    known.mkdir(parents=True)
    (known / "a.crt").write_text(PEM.format("AAA") + "\n")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(
        f"# a\n{PEM.format('AAA')}\n# b\r\n{PEM.format('BBB')}\n{PEM.format('BBB')}".replace("\nBBB\n", "\r\nBBB\r\n")
    )
    assert guest.missing_certificates(tmp_path, bundle) == [PEM.format("BBB")]
    assert guest.missing_certificates(tmp_path, None) == []


def test_a_trees_key_changes_with_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree.cached("bookworm")
    assert before != tree.cached("trixie")
    assert before == tree.cached("bookworm")
    monkeypatch.setattr(tree, "PACKAGES", (*tree.PACKAGES, "vim"))
    changed = tree.cached("bookworm")
    assert changed != before
    monkeypatch.setattr(tree, "RECIPE", tree.RECIPE + 1)
    assert tree.cached("bookworm") not in (before, changed)


def test_an_unknown_release_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HoldfastError, match="buster"):
        tree.base("buster", env={}, log=tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


def test_a_mount_below_a_folder_stops_its_removal() -> None:
    with pytest.raises(HoldfastError, match="umount"):
        tree.refuse_mounts(Path("/proc"))
    tree.refuse_mounts(Path("/nothing/here"))


def test_snapshots_are_compared_part_by_part() -> None:
    before = {"links": ["lo", "eth0"], "nft": []}
    assert snapshot.difference(before, {"links": ["eth0", "lo"], "nft": []}) == []
    after = {"links": ["lo"], "nft": ["table inet x"], "mounts": ["/m"]}
    assert snapshot.difference(before, after) == ["- links: eth0", "+ mounts: /m", "+ nft: table inet x"]


def test_the_last_lab_undoes_what_the_first_one_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    there, new, inner = tmp_path / "there", tmp_path / "new", tmp_path / "new" / "inner"
    there.mkdir()
    monkeypatch.setattr(footprint, "SHARED", (str(there), str(new), str(inner)))
    monkeypatch.setattr(footprint, "OURS", (str(inner),))
    footprint.claim()
    assert inner.is_dir()
    footprint.claim()  # a second lab must not take the first one's folders for the computer's own
    footprint.release()
    assert there.is_dir()
    assert not new.exists()
    footprint.release()


def test_a_folder_that_someone_else_uses_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    new = tmp_path / "new"
    monkeypatch.setattr(footprint, "SHARED", (str(new),))
    monkeypatch.setattr(footprint, "OURS", (str(new),))
    footprint.claim()
    (new / "theirs").write_text("")
    footprint.release()
    assert (new / "theirs").exists()


def test_the_authority_signs_what_it_should(tmp_path: Path) -> None:
    from cryptography import x509

    authority.make(tmp_path, "lab", "10.99.0.2")
    ca, server = (x509.load_pem_x509_certificate((tmp_path / f).read_bytes()) for f in ("ca.pem", "server.pem"))
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.99.0.2"]
    assert (tmp_path / "server.key").stat().st_mode & 0o777 == 0o600


def test_headscale_asks_no_one_outside(tmp_path: Path) -> None:
    found = control.configuration(tmp_path)
    assert found["disable_check_updates"] is True
    assert found["logtail"] == {"enabled": False}
    derp = found["derp"]
    assert isinstance(derp, dict)
    assert derp["urls"] == []
