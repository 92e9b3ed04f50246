"""What a recording of read_machine must look like: a wrong type would be a wrong verdict, said with confidence."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from holdfast.components.nvidia.packages import Want

Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]


class _Part(BaseModel):
    # strict: "no" is no false, and "580.1" no list of characters. ignore: a newer release may have recorded more.
    model_config = ConfigDict(strict=True, extra="ignore")


class _Gpu(_Part):
    address: str
    device: str
    driver: str = ""
    power: str = ""
    answers: bool = True
    bound: bool | None = None


class _Kernel(_Part):
    bootable: bool = True
    initrd: bool = False
    current: bool = True
    headers: bool = False
    module: str = ""
    signer: str = ""
    signed: bool | None = None
    built: bool = False
    hidden: str = ""


class _Package(_Part):
    version: str
    state: Annotated[str, Field(pattern=r"^[a-z][A-Za-z]$")] = "ii"
    vendor: bool = False


class _Failure(_Part):
    module: str
    version: str
    kernel: str
    line: str
    log: str = ""


class _Holder(_Part):
    pid: Annotated[int, Field(ge=0)]
    name: str
    unit: str


class _Key(_Part):
    file: str = ""
    enrolled: bool = False
    pending: bool = False


class _Entry(_Part):
    at: str
    id: str
    title: str
    linux: str
    menu: bool
    rescue: bool = False


class _Boot(_Part):
    loader: str = ""
    chosen: str = ""
    firmware: str = ""
    entries: list[_Entry] = []


class _Recording(_Part):
    """What parse() takes; a newer release may have recorded more, and an older one has recorded less."""

    gpus: list[_Gpu]
    nouveau: bool
    nouveau_cards: list[str] | None = None
    release: dict[str, str] = {}
    boot_id: str = ""
    container: bool = False
    withheld: list[str] = []
    wsl: bool = False
    module: str
    open_module: bool
    uvm: bool = True
    # An older release recorded the -1 that the kernel tells of a module it is unloading.
    drm_users: Annotated[int, AfterValidator(lambda users: max(users, 0))] = 0
    libraries: list[Version]
    kernel: str
    kernels: dict[str, _Kernel]
    boot: _Boot | None = None
    boot_entry: str = ""
    boot_free_mib: int | None = None
    reboot_for: list[str] = []
    secure_boot: bool
    signatures_enforced: bool
    key: _Key = _Key()
    known_signers: list[str] = []
    packages: dict[str, _Package] = {}
    broken_packages: list[str]
    failures: list[_Failure] = []
    holders: list[_Holder] = []
    stopped: list[str] = []
    passphrases: list[str] = []


_WANT = TypeAdapter(Want)
# pydantic's names of what is wrong, by what belongs there.
_BELONGS = {
    "dataclass_type": "an object", "dataclass_exact_type": "an object",
    "list_type": "a list", "dict_type": "an object", "model_type": "an object", "string_type": "text",
    "string_pattern_mismatch": "text of the form {pattern}", "bool_type": "true or false", "int_type": "a whole number",
    "greater_than_equal": "{ge} or more",
}  # fmt: skip


def checked(found: Any) -> dict[str, Any]:
    """The fields of ``found`` that this release knows, at every depth. Raises ValueError, naming field, value and what belongs
    there, where it is no recording."""
    try:
        known = _Recording.model_validate(found).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ValueError(_told(error)) from None
    if known["kernel"] not in known["kernels"]:
        raise ValueError(f"kernels says nothing of {_shown(known['kernel'])}, the kernel that runs")
    return known


def wanted(asked: Any) -> Want:
    """The settings that were recorded beside. Raises ValueError as ``checked`` does."""
    try:
        return _WANT.validate_json(json.dumps(asked), strict=True)
    except ValidationError as error:
        raise ValueError(f"asked: {_told(error)}") from None


def _told(error: ValidationError) -> str:
    first, *more = error.errors(include_url=False)
    field = ".".join(map(str, first["loc"])) or "all of it"
    rest = f" (and {len(more)} more such)" if more else ""
    if first["type"] == "missing":
        return f"{field} is missing{rest}"
    belongs = _BELONGS.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
    return f"{field} is {_shown(first['input'])}, where {belongs} belongs{rest}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}…"
