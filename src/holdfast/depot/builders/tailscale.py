"""The `tailscale` Debian package, from the pinned source, in the vendor's shape.

Unit, defaults file and maintainer scripts are the vendor's own, taken from the module whose hash go.sum pins
(cmd/tailscaled, release/deb); which file goes where: release/dist/unixpkgs/pkgs.go there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from holdfast import proc
from holdfast.depot.builders import EPOCH, Built, golang
from holdfast.depot.lock import Pin
from holdfast.progress import Progress

CONTROL = """Package: tailscale
Version: {version}
Section: net
Priority: extra
Architecture: amd64
Maintainer: Holdfast depot <depot@holdfast.invalid>
Installed-Size: {kib}
Depends: iptables
Recommends: tailscale-archive-keyring (>= 1.35.181), iproute2
Conflicts: tailscale-relay
Replaces: tailscale-relay
Homepage: https://www.tailscale.com
Description: Tailscale, built from its source by a Holdfast depot
 Same files and places as the vendor's package; without the assets of the
 node's own web interface (tailscale web).
"""


def build(pin: Pin, work: Path, log: Path, progress: Progress) -> Built:
    """tailscale_VERSION_amd64.deb with both programs (versions stamped), unit, targets and conffile."""
    tree, programs = work / "tree", work / "programs"
    stamps = {
        "tailscale.com/version.shortStamp": pin.version,
        "tailscale.com/version.longStamp": f"{pin.version}-holdfast",
    }
    golang.build("tailscale", pin, stamps, programs, log, progress, cgo=False)
    source = _source(log, progress)
    _put(programs / "tailscale", tree / "usr/bin/tailscale", 0o755)
    _put(programs / "tailscaled", tree / "usr/sbin/tailscaled", 0o755)
    for unit in ("tailscaled.service", "tailscale-online.target", "tailscale-wait-online.service"):
        _put(source / "cmd/tailscaled" / unit, tree / "lib/systemd/system" / unit, 0o644)
    _put(source / "cmd/tailscaled/tailscaled.defaults", tree / "etc/default/tailscaled", 0o644)
    _control(pin, source, tree)
    file = work / pin.filename
    env = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)}
    proc.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z6", "--build", tree, file], env=env, log=log, fix=f"see {log}"
    )
    return Built(file)


def _source(log: Path, progress: Progress) -> Path:
    """The module's checked source in Go's module cache."""
    go = golang.toolchain(golang.wanted("tailscale"), log, progress)
    argv: list[str | Path] = [go, "list", "-m", "-f", "{{.Dir}}", "tailscale.com"]
    return Path(
        proc.run(argv, cwd=golang.module("tailscale"), env=golang.environment(), fix=f"see {log}").stdout.strip()
    )


def _put(source: Path, to: Path, mode: int) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
    to.chmod(mode)


def _control(pin: Pin, source: Path, tree: Path) -> None:
    files = sorted(p for p in tree.rglob("*") if p.is_file())
    kib = sum(p.stat().st_size for p in files) // 1024
    sums = "".join(
        f"{hashlib.md5(p.read_bytes(), usedforsecurity=False).hexdigest()}  {p.relative_to(tree)}\n" for p in files
    )
    folder = tree / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(CONTROL.format(version=pin.version, kib=kib))
    (folder / "conffiles").write_text("/etc/default/tailscaled\n")
    (folder / "md5sums").write_text(sums)
    for script in ("postinst", "prerm", "postrm"):
        _put(source / "release/deb" / f"debian.{script}.sh", folder / script, 0o755)
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
