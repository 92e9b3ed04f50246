"""locks/artifacts.yml: what is pinned, read into types; and the one place that writes to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast import paths, yaml_edit
from holdfast.errors import HoldfastError

UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Pin:
    """One artifact of the lock. ``size`` in bytes; ``size`` and ``sha256`` are None where nobody has seen the bytes."""

    name: str
    version: str
    url: str
    size: int | None
    sha256: str | None
    licence: str
    file: str = ""
    """Address inside a depot folder; empty for what only exists at the vendor."""
    builder: str = ""
    """The builder that makes the same artifact here; empty where there is none."""
    suites: tuple[str, ...] = ()
    """Releases that the signed apt repository around this .deb serves; empty for a plain file."""

    @property
    def verified(self) -> bool:
        return self.sha256 is not None and self.size is not None

    @property
    def filename(self) -> str:
        return (self.file or self.url).rsplit("/", 1)[-1]


def lock_file() -> Path:
    """The lock of this checkout."""
    return paths.LOCKS / "artifacts.yml"


def load(file: Path | None = None) -> dict[str, Pin]:
    """All pins by name. Raises HoldfastError that names file and key for anything that is not as expected."""
    file = file or lock_file()
    fix = f"correct {file} (git diff shows what changed)"
    try:
        entries = yaml.safe_load(file.read_text())["artifacts"]
        return {str(name): _pin(str(name), dict(entry)) for name, entry in entries.items()}
    except HoldfastError:
        raise
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise HoldfastError(f"the lock cannot be read: {e!r}", where=str(file), fix=fix) from e


def pin(name: str, file: Path | None = None) -> Pin:
    """One pin; an unknown name is an error that lists the known ones."""
    pins = load(file)
    if name not in pins:
        known = ", ".join(sorted(pins))
        raise HoldfastError(
            f"no artifact {name!r}", where=str(file or lock_file()), allowed=known, fix="use one of these names", code=2
        )
    return pins[name]


def _pin(name: str, entry: dict[str, Any]) -> Pin:
    def bad(key: str, allowed: str) -> HoldfastError:
        given = entry.get(key, "(missing)")
        return HoldfastError(
            f"{key}: {given!r} cannot be used",
            where=f"artifacts.{name}.{key}",
            allowed=allowed,
            fix="correct locks/artifacts.yml",
        )

    unknown = set(entry) - {"version", "url", "file", "size", "sha256", "licence", "builder", "suites"}
    if unknown:
        raise bad(sorted(unknown)[0], "no such key")
    version, url, size, sha = entry.get("version"), entry.get("url"), entry.get("size"), entry.get("sha256")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9][0-9A-Za-z.+~-]*", version):
        raise bad("version", "a version in quotes")
    if not isinstance(url, str) or not re.match(r"https?://[^/]", url):
        raise bad("url", "an http(s) URL")
    if size != UNVERIFIED and (not isinstance(size, int) or isinstance(size, bool) or size <= 0):
        raise bad("size", f"bytes, or {UNVERIFIED}")
    if sha != UNVERIFIED and not (isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{64}", sha)):
        raise bad("sha256", f"64 hexadecimal digits, or {UNVERIFIED}")
    file = str(entry.get("file", "")).replace("{version}", version)
    if file.startswith("/") or ".." in file.split("/"):
        raise bad("file", "a relative path inside the depot")
    return Pin(
        name=name,
        version=version,
        url=url.replace("{version}", version),
        size=None if size == UNVERIFIED else size,
        sha256=None if sha == UNVERIFIED else sha,
        licence=str(entry.get("licence", "")),
        file=file,
        builder=str(entry.get("builder", "")),
        suites=tuple(str(s) for s in entry.get("suites", ())),
    )


def write(name: str, size: int, sha256: str, file: Path | None = None) -> None:
    """Write size (bytes) and SHA-256 of one pin; everything else in the file, comments included, stays as it is.

    The new file replaces the old one in one step, and only after it was read back with the values in it.
    """
    file = file or lock_file()
    lines = yaml_edit.with_values(yaml_edit.read(file), name, {"size": str(size), "sha256": sha256}, indent=yaml_edit.STEP)
    if lines is None:
        raise HoldfastError(
            f"{name} has no line for size and sha256",
            where=str(file),
            fix=f"add `size: {UNVERIFIED}` and `sha256: {UNVERIFIED}` to it",
        )

    def right(new: Path) -> bool:
        got = pin(name, new)
        return (got.size, got.sha256) == (size, sha256)

    fix = "write size and sha256 by hand"
    yaml_edit.replace(file, lines, right, HoldfastError(f"{name}: the lock could not be edited", where=str(file), fix=fix))
