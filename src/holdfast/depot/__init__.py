"""The depot: everything the machine downloads, pinned, as static files in one folder.

``fetch`` fills it, ``resolve`` says where a machine takes a pinned artifact from. Hashes come from the git lock or from
this computer's own record of what it built, never from a depot.
"""

from __future__ import annotations

from holdfast.depot import aptset
from holdfast.depot.address import MODELS, AptSource, Artifact, models, resolve, resolve_apt
from holdfast.depot.aptset import AptSet
from holdfast.depot.lock import Pin
from holdfast.depot.record import Entry, digest, path, root
from holdfast.depot.record import load as recorded
from holdfast.depot.store import fetch, fetch_set, packages_needed, update, verify

__all__ = [
    "MODELS", "AptSet", "AptSource", "Artifact", "Entry", "Pin", "aptset", "digest", "fetch", "fetch_set", "models",
    "packages_needed", "path", "recorded", "resolve", "resolve_apt", "root", "update", "verify",
]  # fmt: skip
