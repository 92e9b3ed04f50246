"""Certificates that carry Holdfast's name among the machine's authorities: where they lie, and which they are.

Prints {path: sha256 of the certificate (DER), "" for a file that has none}. Given: folders.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import ssl
import sys

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)


def fingerprint(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            found = CERTIFICATE.search(f.read())
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group())).hexdigest() if found else ""
    except (OSError, ValueError):
        # A link that leads nowhere any more, or a damaged file: there all the same.
        return ""


def main(folders: list[str]) -> dict[str, str]:
    paths = [path for folder in folders for path in glob.glob(os.path.join(folder, "holdfast-*"))]
    return {path: fingerprint(path) for path in sorted(paths)}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
