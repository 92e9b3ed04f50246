"""The join key: settings hold a *reference*; the key itself is read here, on this computer, when a join needs it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from holdfast.errors import HoldfastError
from holdfast.settings.section import Section

# What stands in errors in place of a value that may be a key: pydantic reports the input it was given.
HIDDEN = "(a value that may be a key: not shown)"
_KEY_PREFIXES = ("tskey-", "hskey-")
_NEEDED = "a one-off join key for the tailnet"
_MINT = (
    "mint a one-off key (Tailscale: admin console, Settings, Keys: one-off, pre-approved, tagged, not ephemeral; "
    "headscale: `headscale preauthkeys create`)"
)


class AuthKey(Section):
    """Where the key is: a file or an environment variable of the computer Holdfast runs on. Never the key."""

    file: str = Field(default="", description="A file here that holds the key and nothing else, mode 0600.")
    env: str = Field(default="", description="An environment variable here that holds the key.")

    @model_validator(mode="before")
    @classmethod
    def _hide(cls, given: Any) -> Any:
        """Take whatever could be a key out of the input before anything can quote it in an error."""
        if not isinstance(given, dict):
            return given if isinstance(given, AuthKey) else {"file": HIDDEN}
        return {
            name: value if name in cls.model_fields and not str(value).startswith(_KEY_PREFIXES) else HIDDEN
            for name, value in given.items()
        }

    @field_validator("file", "env")
    @classmethod
    def _no_key(cls, value: str) -> str:
        if value == HIDDEN:
            raise ValueError("the key itself must not stand here; name its place: {file: PATH} or {env: NAME}")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> AuthKey:
        if bool(self.file) == bool(self.env):
            raise ValueError("name exactly one place: {file: PATH} or {env: NAME}")
        return self

    def __str__(self) -> str:
        return f"file {self.file}" if self.file else f"environment variable {self.env}"

    def read(self) -> str:
        """The key. Raises HoldfastError when it is missing, empty, several words, or in a file that others may read."""
        text = (self._from_file() if self.file else os.environ.get(self.env, "")).strip()
        if not text:
            raise HoldfastError(
                f"no join key: {self} is empty or not set", allowed=_NEEDED, fix=f"{_MINT} and put it there"
            )
        if len(text.split()) != 1:
            fix = f"{_MINT} and put it there alone"
            raise HoldfastError(f"the join key is not one word ({self})", allowed=_NEEDED, fix=fix)
        return text

    def _from_file(self) -> str:
        path = Path(self.file).expanduser()
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "not text"
            raise HoldfastError(
                f"no join key in {path}: {problem}", where="tailscale.auth_key.file", allowed=_NEEDED,
                fix=f"{_MINT} and save it there, mode 0600",
            ) from None  # fmt: skip
        if mode & 0o077:
            raise HoldfastError(
                f"others on this computer may read or change the join key in {path} (mode {stat.S_IMODE(mode):04o})",
                where="tailscale.auth_key.file", allowed="0600", fix=f"chmod 600 {path}",
            )  # fmt: skip
        return text


def required(reference: AuthKey | None) -> str:
    """The key that ``reference`` names, in the form that ``tailscale up`` takes; HoldfastError when there is none."""
    if reference is None:
        raise HoldfastError(
            "the machine is not in the tailnet yet and tailscale.auth_key names no key", where="tailscale.auth_key",
            allowed="{file: PATH} or {env: NAME}",
            fix=f"{_MINT}, save it in a file of mode 0600, name the file in hosts.yml",
        )  # fmt: skip
    key = reference.read()
    # An OAuth client's secret makes an EPHEMERAL node by default: the workstation would vanish from the tailnet when it
    # is switched off. An ordinary key must stay untouched: for it a "?" is part of the key.
    # https://github.com/tailscale/tailscale/blob/v1.102.3/feature/oauthkey/oauthkey.go
    if key.startswith("tskey-client-") and "?" not in key:
        key += "?ephemeral=false&preauthorized=true"
    return key
