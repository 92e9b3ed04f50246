"""The reader of packages: one function that travels with the driver's reader and runs on the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.components.nvidia.names import beginnings, kinds


def read_packages(text: Callable[..., str], names: Callable[..., list[str]]) -> Any:
    """What `dpkg -l` and `dpkg --audit` would say: {"packages": {name: {"version", "state", "vendor"}}, "broken": [name]}.

    ``text``, ``names``: read a file, list a folder. Of the packages those of the driver and of kernels, and every half-installed
    one.
    """
    import re

    ours = re.compile(rf"{'|'.join(beginnings())}|linux-(image|headers|kbuild|{'|'.join(kinds())})|(dkms|mokutil)$")
    states = {
        "not-installed": "n", "config-files": "c", "half-installed": "H", "unpacked": "U", "half-configured": "F",
        "triggers-awaited": "W", "triggers-pending": "t", "installed": "i",
    }  # fmt: skip

    def fields(stanza: str) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[:1] != " ")

    # A dpkg that was cut off has left there what its list does not say yet; until that is taken in, apt refuses everything.
    journal = [fields(text("var/lib/dpkg/updates", name)) for name in names("var/lib/dpkg/updates") if name.isdigit()]
    known = {}
    for said in [*map(fields, text("var/lib/dpkg/status").split("\n\n")), *journal]:
        known[said.get("Package", "").strip(), said.get("Architecture", "")] = said
    cut = {said.get("Package", "").strip() for said in journal}
    packages, broken = {}, []
    for (name, _), said in known.items():
        want, flag, state = [*said.get("Status", "").split(), "", "", ""][:3]
        unfinished = state in states and (flag != "ok" or states[state] in "HUFWt" or name in cut)
        if unfinished:
            broken.append(name)
        if name and state in states and states[state] not in "nc" and (unfinished or ours.match(name)):
            packages[name] = {
                "version": said.get("Version", "").strip(), "state": want[:1] + states[state],
                "vendor": "@nvidia.com" in said.get("Maintainer", ""),
            }  # fmt: skip
    return {"packages": packages, "broken": broken}
