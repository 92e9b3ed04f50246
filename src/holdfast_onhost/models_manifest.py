"""One way to read a model's manifest, from wherever models are served; the digest of its bytes is what is pinned."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Callable

from holdfast_onhost import fetch_http
from holdfast_onhost.fetch import Manner
from holdfast_onhost.fetch_errors import FetchError, Unreachable
from holdfast_onhost.models_store import Blob, Name, blobs_of

MOST = 4 << 20  # bytes; Ollama's own are a thousand
_NO_REGISTRY = "is models.registry the address of a registry of models, and does it let this machine in?"
_ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"


class Source:
    """Where models come from: a registry (https://HOST), or a folder with Ollama's own layout: http://…/DIR/, file:///DIR/.

    An address that ends in a slash is such a folder, for example the one in a depot: static files, no registry needed.
    """

    def __init__(self, address: str, agent: str) -> None:
        """`agent` is the User-Agent, by which the registry decides whether this Ollama is new enough for a model."""
        self.address, self.headers = address, {"User-Agent": agent}
        self._folder = address.endswith("/")

    def manifest_url(self, name: Name) -> str:
        """Where the manifest of `name` is."""
        if self._folder:
            return f"{self.address}manifests/{name.path}"
        return f"{self.address}/v2/{name.space}/{name.model}/manifests/{name.tag}"

    def blob_url(self, name: Name, blob: Blob) -> str:
        """Where a blob of `name` is."""
        if self._folder:
            return f"{self.address}blobs/sha256-{blob.hex}"
        return f"{self.address}/v2/{name.space}/{name.model}/blobs/sha256:{blob.hex}"

    def fix(self, name: str) -> str:
        """What to do where it does not have `name`."""
        return (
            f"./holdfast depot fetch {name}, and bring that depot there"
            if self._folder
            else "check the model's name and tag"
        )

    @property
    def ollama(self) -> str:
        """The version that the User-Agent tells."""
        return self.headers["User-Agent"].split()[0].partition("/")[2]


def digest(raw: bytes) -> str:
    """ "sha256:HEX" of a manifest as it was sent."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def read(name: str, source: Source, manner: Manner, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """The manifest of `name` as `source` sends it, byte for byte.  Raises FetchError; Unreachable for what may pass.

    What is no manifest is an error: the digest of a portal's login page is nothing to compare, let alone to pin.
    """
    url, failures = source.manifest_url(Name.parse(name)), 0
    while True:
        wait = 0.0
        try:
            answer = fetch_http.get(url, headers={**source.headers, "Accept": _ACCEPT}, timeout=manner.stall,
                                    pace=manner.pace)  # fmt: skip
            try:
                wait = answer.retry_after
                return _body(answer, url, name, source)
            finally:
                answer.close()
        except (OSError, http.client.HTTPException) as error:
            failures += 1
            if failures >= manner.tries:
                raise Unreachable(
                    f"{url}: {str(error) or type(error).__name__} ({failures} tries)",
                    "check the network and models.registry, then run the same again",
                ) from error
            sleep(manner.rest(failures, wait))


def _body(answer: fetch_http.Answer, url: str, name: str, source: Source) -> bytes:
    if answer.status == 200:
        if answer.encoding:
            raise answer.packed(url)
        parts = []
        size = 0
        while data := answer.read(1 << 16):
            parts.append(data)
            size += len(data)
            if size > MOST:
                raise FetchError(f"{url}: more than {MOST} bytes; that is no manifest", _NO_REGISTRY)
        if answer.total is not None and size != answer.total:
            raise OSError(f"the connection ended after {size} of {answer.total} bytes")
        raw = b"".join(parts)
        if answer.total is None and not raw.rstrip().endswith(b"}"):
            raise OSError(f"the connection ended after {size} bytes of a manifest")
        blobs_of(name, raw)
        return raw
    if answer.status == 404:
        raise FetchError(f"{name}: {url} does not exist (HTTP 404)", source.fix(name))
    if answer.status == 412:
        # ollama/ollama server/images.go: the registry refuses a client that is too old for the model.
        raise FetchError(
            f"{name}: the registry wants a newer Ollama than {source.ollama} for it (HTTP 412 {answer.excerpt()})",
            "raise artifacts.ollama.version in locks/artifacts.yml, then ./holdfast depot update ollama",
        )
    if answer.busy:
        raise OSError(f"HTTP {answer.status} {answer.excerpt()}".strip())
    raise FetchError(f"{url}: HTTP {answer.status} {answer.excerpt()}".strip(), _NO_REGISTRY)
