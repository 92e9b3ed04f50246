"""apt's sources on the machine: what stands there, and NVIDIA's key, taken only by its whole fingerprint."""

from __future__ import annotations

from typing import Any

from holdfast.operations.remote import PythonFact


def read_sources(folder: str) -> Any:
    """Runs on the host: every `deb` source below ``folder`` (/etc/apt), one-line or deb822."""
    import glob
    import os
    import re

    out = []
    for file in [os.path.join(folder, "sources.list"), *sorted(glob.glob(os.path.join(folder, "sources.list.d", "*")))]:
        try:
            with open(file, encoding="utf-8", errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        if file.endswith(".list"):
            for line in text.splitlines():
                found = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
                if found:
                    options = dict(o.split("=", 1) for o in (found[1] or "").split() if "=" in o)
                    out.append({
                        "file": file, "uris": found[2], "suites": found[3], "components": found[4].strip(),
                        "signed_by": options.get("signed-by", ""),
                    })  # fmt: skip
        elif file.endswith(".sources"):
            for stanza in re.split(r"\n\s*\n", text):
                fields: dict[str, str] = {}
                name = ""
                for line in stanza.splitlines():
                    if line[:1] in (" ", "\t") and name:
                        fields[name] += "\n" + line
                    elif ":" in line and not line.startswith("#"):
                        name, _, value = line.partition(":")
                        name = name.strip().lower()
                        fields[name] = value.strip()
                off = fields.get("enabled", "yes").lower() in ("no", "false", "0")
                if "deb" in fields.get("types", "").split() and not off:
                    keys = ("uris", "suites", "components")
                    one = {key: " ".join(fields.get(key, "").split()) for key in keys}
                    out.append({"file": file, **one, "signed_by": fields.get("signed-by", "")})
    return {"sources": out}


class AptSources(PythonFact):
    """apt's sources; see read_sources."""

    reader = staticmethod(read_sources)


def keyring(path: str, url: str, fingerprint: str) -> Any:
    """Runs on the host: whether the keyring at ``path`` holds the key with ``fingerprint`` and no other; with a ``url``
    it is fetched from there first, checked, and written. Raises SystemExit with the reason where the key is another one."""
    import base64
    import hashlib
    import os
    import sys
    import urllib.request

    def binary(data: bytes) -> bytes:
        """Without the armor, if it has one."""
        if not data.lstrip().startswith(b"-----BEGIN"):
            return data
        lines = data.decode("ascii", "replace").replace("\r", "").splitlines()
        body = lines[lines.index("") + 1 :]
        # The line with "=" is the checksum.
        return base64.b64decode("".join(line for line in body if not line.startswith(("=", "-----"))))

    def primary(data: bytes) -> list[str]:
        """Fingerprints of the public keys in it, subkeys aside (RFC 4880: 4.2, 12.2)."""
        out, at = [], 0
        while at < len(data):
            head = data[at]
            at += 1
            if not head & 0x80:
                raise ValueError("no OpenPGP packet")
            if head & 0x40:
                tag, first = head & 0x3F, data[at]
                if first < 192:
                    size, at = first, at + 1
                elif first < 224:
                    size, at = ((first - 192) << 8) + data[at + 1] + 192, at + 2
                elif first == 255:
                    size, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
                else:
                    raise ValueError("a packet in parts")
            else:
                tag, width = (head >> 2) & 0x0F, 1 << (head & 3)
                if width == 8:
                    raise ValueError("a packet without a length")
                size, at = int.from_bytes(data[at : at + width], "big"), at + width
            body = data[at : at + size]
            if len(body) < size:
                raise ValueError("it ends in a packet")
            if tag == 6:
                if body[:1] != b"\4":
                    raise ValueError(f"a key of version {body[0]}")
                out.append(hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper())
            at += size
        return out

    def right(data: bytes) -> bool:
        return primary(data) == [fingerprint]

    if not url:
        try:
            with open(path, "rb") as f:
                data = f.read()
            mode = os.stat(path)
            return right(data) and (mode.st_mode & 0o7777, mode.st_uid) == (0o644, 0)
        except (OSError, ValueError, IndexError):
            return False
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            data = binary(answer.read(1 << 20))
        found = primary(data)
    except (OSError, ValueError, IndexError) as error:
        sys.exit(f"error: no key from {url}: {error}")
    if found != [fingerprint]:
        sys.exit(f"error: {url} is key {', '.join(found) or 'none'}, not {fingerprint}: nothing was changed")
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with open(path + ".new", "wb") as new:
        new.write(data)
    os.chmod(path + ".new", 0o644)
    os.replace(path + ".new", path)
    return True


class Keyring(PythonFact):
    """Whether the keyring is right; see keyring."""

    reader = staticmethod(keyring)
