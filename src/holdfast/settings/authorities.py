"""The files of ``base.ca_certificates``: read on this computer, and judged before anything is connected."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from holdfast.errors import SettingsError
from holdfast.settings.workstation import Workstation

MAX_BYTES = 1 << 20
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates(ws: Workstation) -> dict[str, str]:
    """File name on the machine -> PEM text. Raises SettingsError for a file that is none.

    The name has the text's hash in it: two files that are called ca.pem are two authorities, and what a changed file said
    before is an authority that nobody declares any more.
    """
    out = {}
    for entry in ws.base.ca_certificates:
        text = _pem(ws, entry)
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(entry).stem)
        out[f"holdfast-{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.crt"] = text
    return out


def _pem(ws: Workstation, entry: str) -> str:
    allowed, fix = "a file in PEM form, as text", "name the authority's certificate; from DER: openssl x509 -inform der"
    try:
        with Path(entry).expanduser().open("rb") as f:
            raw = f.read(MAX_BYTES)
        text = raw.decode("ascii")
    except OSError as error:
        problem, fix = f"cannot be read: {error.strerror}", f"put the PEM file at {entry}"
    except (ValueError, RuntimeError):
        # Not text (DER), a name with a NUL in it, a home that nobody has.
        problem = "is no PEM file"
    else:
        if "PRIVATE KEY" in text:
            problem, fix = "holds a private key, and everybody on the machine may read it there", "name the certificate alone"
        elif _CERTIFICATE.search(text):
            return text
        else:
            problem = "has no certificate in PEM form"
    where = f"{ws.name}.base.ca_certificates"
    raise SettingsError(f"{entry!r:.200} {problem}", where=where, allowed=allowed, fix=fix) from None
