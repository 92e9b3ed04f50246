"""Options of the model store."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from holdfast.errors import HoldfastError
from holdfast.fit.lock import shape_from_lock
from holdfast.settings.section import Section, no_account

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


def _no_registry(value: object) -> object:
    """Every model is asked of ``registry``: a name that brings a registry along would be looked for at another."""
    if isinstance(value, str) and value.count("/") > 1:
        registry, _, name = value.partition("/")
        raise ValueError(f"{registry!r} in it is a registry: write {name!r}, and set models.registry (one for all models)")
    return value


ModelName = Annotated[
    str, BeforeValidator(_no_registry), Field(pattern=r"^([\w][\w.-]*/)?[\w][\w.-]*:[\w][\w.-]*$", max_length=200)
]


def _shape(value: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(value, str):
        if not re.match(r"^[/~][^\x00\n]*$", value):
            raise ValueError("no file; an absolute path of this computer, or one that begins with ~")
        return value
    try:
        shape_from_lock(value, "models.shapes")
    except HoldfastError as error:
        raise ValueError(f"{error.message}; write what ./holdfast depot update MODEL prints") from None
    return value


# A model's own file on this computer, or an entry as in locks/models.yml.
ShapeSource = Annotated[str | dict[str, Any], AfterValidator(_shape)]


# Where a server's confinement hides what is there, or nothing outlives a boot.
_HIDDEN = ("home", "root", "tmp", "var/tmp", "run", "proc", "sys", "dev", "boot", "etc", "usr")


def _store(value: str) -> str:
    parts = value.strip("/").split("/")
    if {".", ".."} & set(parts) or not parts[0]:
        raise ValueError("not a folder; an absolute path without . and ..")
    for hidden in _HIDDEN:
        if f"/{'/'.join(parts)}/".startswith(f"/{hidden}/"):
            raise ValueError(f"no store below /{hidden}: the servers do not see it, or it is not for this")
    return "/" + "/".join(parts)


class Options(Section):
    """Where models come from, where they lie, and by which digests they are recognised."""

    registry: Annotated[str, AfterValidator(no_account)] = Field(
        default="https://registry.ollama.ai",
        pattern=r"^(https?://[^\s/]+|depot)$",
        description="Address of the registry that serves the models, or `depot` for those that lie in this machine's depot "
        "(`./holdfast depot fetch MODEL` puts them there). A mirror may be plain http: every byte is checked against the "
        "pinned digest.",
        examples=["http://nas.lan:5000", "depot"],
    )
    store: Annotated[str, AfterValidator(_store)] = Field(
        default="/var/lib/holdfast/models",
        pattern=r"^/[A-Za-z0-9_.@+/-]+$",
        description="Folder of the models on the machine. Any other than the default must be there: on a mounted disk, or "
        "with the folders blobs and manifests in it. Models in the default folder are linked or copied there.",
        examples=["/mnt/models"],
    )
    adopt: list[Annotated[str, Field(pattern=r"^[/~][^\x00\n]*$")]] = Field(
        default_factory=list,
        description="Folders with models of another Ollama on the machine. Blobs there are taken over by their digest instead "
        "of being downloaded (linked where the file system allows it and nobody but root may write to them, else copied; the "
        "source stays as it is). Looked at in any case: /usr/share/ollama, and .ollama of login_user and of root.",
        examples=[["/mnt/old-disk/ollama/models"]],
    )
    sync: bool = Field(
        default=False,
        description="True removes models that are not declared, once the declared ones are there; otherwise `status` lists them.",
    )
    pins: dict[ModelName, Digest] = Field(
        default_factory=dict,
        description="Manifest digests of this site's own models, by name and tag; they come before locks/models.yml. "
        "The digest is the SHA-256 of the manifest as the registry sends it, the ID that `ollama list` shortens.",
        examples=[{"qwen2.5-coder:32b": "sha256:" + "0" * 64}],
    )
    shapes: dict[ModelName, ShapeSource] = Field(
        default_factory=dict,
        description="Shapes of this site's own models, by name and tag: what decides whether they fit. The path of the model's "
        "GGUF on this computer, whose beginning is read, or what `./holdfast depot update MODEL` prints. They come before "
        "those of locks/models.yml.",
        examples=[{"somebody/coder:13b": "~/models/coder-13b.gguf"}],
    )
    limit_mib_s: float = Field(
        default=0, ge=0, le=100_000, description="Most MiB per second that the download may take; 0: no limit."
    )
    least_kib_s: float = Field(
        default=1, ge=0, le=1_000_000,
        description="KiB per second below which, over a minute, a connection is given up and the download tried anew; eight such "
        "tries in a row, and it says so. 0: however slow.",
    )  # fmt: skip
    patience_s: int = Field(
        default=600,
        ge=5,
        le=86_400,
        description="Seconds without a new byte, or with less than least_kib_s, after which an apply stops waiting for them. "
        "The download itself goes on trying.",
    )
