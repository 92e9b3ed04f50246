"""Packing and looking into archives, the same bytes for the same contents."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

from holdfast import proc
from holdfast.depot.builders import EPOCH
from holdfast.errors import HoldfastError


def tar_zst(folder: Path, file: Path) -> None:
    """Pack what is in ``folder`` as ``file`` (.tar.zst): sorted, one fixed time, owned by root, whoever packs."""
    plain = file.with_suffix("")
    names = sorted(p.name for p in folder.iterdir())
    proc.run(
        ["tar", "--sort=name", f"--mtime=@{EPOCH}", "--owner=root:0", "--group=root:0", "--numeric-owner", "--format=gnu",
         "--mode=u+rw,go+r-w,a+X", "-C", folder, "-cf", plain, *names]
    )  # fmt: skip
    proc.run(["zstd", "--quiet", "--force", "--rm", "-9", "-T0", plain, "-o", file], fix="apt install zstd")


def members(file: Path) -> dict[str, str]:
    """Path -> SHA-256 of every regular file in a .tar.zst or .deb, as it is installed; empty for any other file."""
    unpack = {".zst": ["zstd", "-dcq", str(file)], ".deb": ["dpkg-deb", "--fsys-tarfile", str(file)]}.get(file.suffix)
    if unpack is None:
        return {}
    found: dict[str, str] = {}
    wrong = ""
    with subprocess.Popen(unpack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    stream = tar.extractfile(member) if member.isreg() else None
                    if stream is not None:
                        sha = hashlib.file_digest(stream, "sha256")  # type: ignore[arg-type]
                        found[member.name.removeprefix("./")] = sha.hexdigest()
        except tarfile.TarError as e:
            wrong = str(e)
        finally:
            process.communicate()  # what is left must be read, or the program dies of a closed pipe
    if wrong or process.returncode:
        message = f"{file} cannot be unpacked: {wrong or f'{unpack[0]} ended with status {process.returncode}'}"
        raise HoldfastError(message, fix=f"delete {file}, then ./holdfast depot fetch")
    return found
