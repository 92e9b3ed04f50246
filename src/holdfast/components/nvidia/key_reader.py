"""The reader of the keys that modules are signed with: it travels with the driver's reader and runs on the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def read_key(read: Callable[..., bytes], efi: Callable[[str], bytes], signers: Iterable[str]) -> Any:
    """{"key": the one that DKMS signs with, where it lies in its usual place, "known_signers": those the firmware lets in}.

    ``read``, ``efi``: a file's bytes, those of the EFI variables of a pattern. ``signers``: who has signed this machine's
    modules. Only a certificate itself tells two keys of one name apart; a key that lies elsewhere (mok_signing_key of DKMS'
    settings) is known by its name in the firmware's lists.
    """
    import re

    listed, pending = efi("MokListRT*-605dab50-*") + efi("db-d719b2cb-*"), efi("MokNew-605dab50-*")
    files = ("/var/lib/shim-signed/mok/MOK.der", "/var/lib/dkms/mok.pub")
    certificates = {file: content for file in files if (content := read(file))}

    def named(signer: str, content: bytes) -> bool:
        # A certificate's commonName: its object identifier, the kind of text, its length in bytes (at most 64 letters), the text.
        text = signer.encode()
        pattern = rb"\x06\x03\x55\x04\x03[\x0c\x13\x14\x16]" + re.escape(bytes([min(len(text), 255)]) + text)
        return re.search(pattern, content) is not None

    known, signed_with = [], set()
    for signer in sorted({*signers} - {""}):
        own = [file for file, content in certificates.items() if named(signer, content)]
        signed_with |= {*own}
        if any(certificates[file] in listed for file in own) if own else named(signer, listed):
            known.append(signer)
    # The one that signs, not what an earlier set-up has left beside it.
    ranked = sorted(certificates, key=lambda file: (file not in signed_with, certificates[file] not in listed))
    key: dict[str, Any] = {}
    if ranked:
        content = certificates[ranked[0]]
        key = {"file": ranked[0], "enrolled": content in listed, "pending": content in pending}
    return {"key": key, "known_signers": known}
