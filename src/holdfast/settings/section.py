"""The base of every group of options: closed (an unknown key is an error) and immutable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


def no_account(url: str) -> str:
    """``url``, when no name or password stands in it: it is written into files and command lines that everybody may read."""
    if "@" in url:
        raise ValueError("no '@' here: a name or password in an address could be read by everybody on the machine")
    return url


class Section(BaseModel):
    """Options of one component. Type, range, description and default of an option live here and nowhere else."""

    # strict: a number in quotes or a yes/no word where a number belongs is a mistake to be told, not to be guessed.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False)
