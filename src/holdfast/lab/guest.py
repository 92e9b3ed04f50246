"""What makes a copied Debian tree this lab's workstation: name, login, keys, resolver, the operator's certificates."""

from __future__ import annotations

import os
import re
import ssl
import uuid
from pathlib import Path

from holdfast.lab import layout as at
from holdfast.lab.layout import Layout
from holdfast.proc import run

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.+?\n-----END CERTIFICATE-----", re.DOTALL)


def operator_bundle() -> Path | None:
    """The bundle of certificate authorities that programs on this computer trust."""
    paths = ssl.get_default_verify_paths()
    for candidate in (os.environ.get("SSL_CERT_FILE"), paths.cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


def certificates(text: str) -> set[str]:
    """The PEM certificates in a text, each once."""
    return {pem.replace("\r", "") for pem in _CERTIFICATE.findall(text.replace("\r\n", "\n"))}


def missing_certificates(tree: Path, bundle: Path | None) -> list[str]:
    """The operator's certificates that Debian's own package does not bring.

    A company's or a school's proxy signs with such a certificate: what works on this computer must work in the lab.
    """
    if bundle is None:
        return []
    known: set[str] = set()
    for file in sorted((tree / "usr/share/ca-certificates").rglob("*.crt")):
        known |= certificates(file.read_text())
    return sorted(certificates(bundle.read_text(errors="replace")) - known)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link that points out of the tree
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def prepare(layout: Layout, base: Path, *, env: dict[str, str], log: Path) -> None:
    """Copy ``base`` and make it the lab's workstation. Needs the lab's SSH keys (ssh.make_keys)."""
    tree = layout.tree
    run(["cp", "-a", "--reflink=auto", base, tree], env=env, log=log)
    _write(tree / "etc/hostname", f"{layout.name}\n")
    _write(tree / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {layout.name}\n::1 localhost ip6-localhost\n")
    _write(tree / "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    # nspawn's --resolv-conf=copy-host leaves resolved's link in place and with it no DNS; the drop-in is what it reads.
    _write(tree / "etc/systemd/resolved.conf.d/uplink.conf", f"[Resolve]\nDNS={at.UPLINK_DNS}\n")
    stub = tree / "etc/resolv.conf"
    stub.unlink(missing_ok=True)
    stub.symlink_to("../run/systemd/resolve/stub-resolv.conf")

    key = layout.folder / "ssh_host_key"
    _write(tree / "etc/ssh/ssh_host_ed25519_key", key.read_text(), 0o600)
    _write(tree / "etc/ssh/ssh_host_ed25519_key.pub", key.with_suffix(".pub").read_text())

    user = at.LOGIN_USER
    # '*' and not '!': no password fits, and the account does not count as locked.
    account = ["--create-home", "--shell=/bin/bash", "--uid=1000", "--password=*", user]
    if not (tree / "home" / user).is_dir():  # a tree that was a workstation before has it
        run(["chroot", tree, "useradd", *account], env=env, log=log)
    _write(tree / "etc/sudoers.d" / user, f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    authorized = tree / "home" / user / ".ssh/authorized_keys"
    _write(authorized, layout.ssh_key.with_suffix(".pub").read_text(), 0o600)
    authorized.parent.chmod(0o700)
    for path in (authorized.parent, authorized):
        os.chown(path, 1000, 1000)

    for number, pem in enumerate(missing_certificates(tree, operator_bundle())):
        _write(tree / f"usr/local/share/ca-certificates/operator-{number}.crt", pem + "\n")
    run(["chroot", tree, "update-ca-certificates"], env=env, log=log)
