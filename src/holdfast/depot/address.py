"""From a pin to its address: the one place that knows whether a depot exists."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from holdfast.depot import lock, record
from holdfast.depot.lock import Pin
from holdfast.errors import HoldfastError

MODELS = "models"


@dataclass(frozen=True)
class Artifact:
    """A file that a machine can take: where it is and what its bytes must be (``size`` in bytes)."""

    name: str
    version: str
    url: str
    size: int
    sha256: str
    origin: str
    """"release" (the vendor's bytes) or "built here"."""
    filename: str


@dataclass(frozen=True)
class AptSource:
    """A signed apt repository with one package of interest: ``deb [signed-by=…] uri suite components``."""

    uri: str
    suite: str
    components: str
    keyring: Artifact
    version: str
    origin: str


def resolve(name: str, depot: str) -> Artifact:
    """Where ``name`` is taken from, given the workstation's ``depot`` setting, and what its bytes must be.

    ``depot`` is "" for the vendors, else a URL or an absolute path on the workstation. Size and hash come from the git
    lock or from this computer's own record of what it built, never from the depot. Raises HoldfastError for a release
    whose hash nobody has computed yet, and for a depot whose artifact this computer does not know.
    """
    pin = lock.pin(name)
    if not depot:
        return _from_vendor(pin, pin.url)
    return _from_depot(pin, depot)


def resolve_apt(name: str, depot: str, distro: str, codename: str) -> AptSource:
    """The apt repository that has ``name`` for a ``distro`` ("debian", "ubuntu") release. Errors as in resolve()."""
    pin = lock.pin(name)
    if not depot:
        key = lock.pin(f"{name}-keyring")
        url = key.url.replace("{distro}", distro).replace("{codename}", codename)
        keyring = _from_vendor(key, url)
        uri = url.rsplit("/", 1)[0]
        return AptSource(uri, codename, "main", keyring, pin.version, record.RELEASE)
    if codename not in pin.suites:
        raise HoldfastError(
            f"the depot has no {name} for {distro} {codename}",
            where=f"{depot} (depot)",
            allowed=", ".join(pin.suites),
            fix=f"add {codename} to artifacts.{name}.suites in {lock.lock_file()}, then ./holdfast depot fetch {name}",
        )
    package = _from_depot(pin, depot)
    folder = repository(pin)
    size, sha = record.load()[name].files()[f"{folder}/keyring.gpg"]
    url = f"{_base(depot)}/{folder}/keyring.gpg"
    keyring = Artifact(f"{name}-keyring", sha[:12], url, size, sha, record.BUILT, "keyring.gpg")
    return AptSource(f"{_base(depot)}/{folder}", codename, "main", keyring, package.version, package.origin)


def models(depot: str) -> str:
    """The depot's folder of models, as an address that ends in a slash; Ollama's own layout lies there."""
    return f"{_base(depot)}/{MODELS}/"


def repository(pin: Pin) -> str:
    """The folder in the depot that is the apt repository around a pinned .deb: "apt/tailscale"."""
    return pin.file.split("/pool/")[0]


def _base(depot: str) -> str:
    if depot.startswith("/"):
        return "file://" + urllib.parse.quote(depot.rstrip("/"))
    if urllib.parse.urlsplit(depot).scheme in ("http", "https", "file"):
        return depot.rstrip("/")
    raise HoldfastError(
        f"depot: {depot!r} is neither a URL nor an absolute path",
        allowed='"", https://…, http://…, /a/path',
        fix="correct depot: in hosts.yml",
        code=2,
    )


def _from_vendor(pin: Pin, url: str) -> Artifact:
    if pin.sha256 is None or pin.size is None:
        raise HoldfastError(
            f"the SHA-256 of {pin.name} {pin.version} is {lock.UNVERIFIED}: nobody has computed it from the bytes yet",
            where=f"artifacts.{pin.name}.sha256 in {lock.lock_file()}",
            fix=f"./holdfast depot update {pin.name} (downloads and hashes it; then commit the lock), "
            "or use a depot built on this computer (depot: … in hosts.yml)",
        )
    return Artifact(pin.name, pin.version, url, pin.size, pin.sha256, record.RELEASE, url.rsplit("/", 1)[-1])


def _from_depot(pin: Pin, depot: str) -> Artifact:
    base, entry = _base(depot), record.load().get(pin.name)
    if not pin.file:
        raise HoldfastError(f"{pin.name} is only used without a depot", fix='take it from the vendor (depot: "")')
    url = f"{base}/{urllib.parse.quote(pin.file)}"
    if entry is not None and entry.version == pin.version and entry.file == pin.file:
        return Artifact(pin.name, pin.version, url, entry.size, entry.sha256, entry.origin, pin.filename)
    if pin.sha256 is not None and pin.size is not None and not pin.suites:
        return Artifact(pin.name, pin.version, url, pin.size, pin.sha256, record.RELEASE, pin.filename)
    found = f"has {entry.version}" if entry else "has none"
    raise HoldfastError(
        f"{pin.name} {pin.version} is wanted from a depot, but this computer does not know its hash (its own record {found})",
        where=str(record.record_file()),
        fix=f"./holdfast depot fetch {pin.name}",
    )
