"""Reading a YAML file that a person wrote: every way in which it can be wrong is one clear error, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import SettingsError

MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases (they allow cycles and exponential growth), without tags, and without silently doubled keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _refused(f"an alias (*{event.anchor:.60}) is not allowed here", event, "write out what it stands for")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _refused(
                    "a merge key (<<) is not allowed here", key_node, "write out the keys that it would bring"
                )
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r:.60} is not a word", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r:.60} stands here twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def refuse_tag(self, node: Any) -> Any:
        """What has a tag that no settings have, as `!name` or, for a few words such as `<<` and `=`, by itself."""
        short = str(node.tag).removeprefix("tag:yaml.org,2002:")
        raise _refused(
            f"a value with the tag {short!r:.60} is not allowed here", node, "take the tag out, or quote the value"
        )


_Loader.add_constructor(None, _Loader.refuse_tag)


def _refused(problem: str, at: Any, fix: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark, note=fix)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in ``path``; an empty file is an empty mapping. Raises SettingsError naming file, line and problem."""
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(
                f"{path} is no plain file", fix="put a plain file there, or let HOLDFAST_HOSTS name one"
            )
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", fix=f"make {path} readable") from None
    return parse_mapping(raw, str(path))


def parse_mapping(raw: bytes, where: str) -> dict[str, Any]:
    """As read_mapping, from bytes; ``where`` names them in errors."""
    if len(raw) > MAX_BYTES:
        raise SettingsError(
            f"{where} has more than {MAX_BYTES} bytes", allowed=f"at most {MAX_BYTES}", fix="is it the right file?"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{where} is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}"
        raise SettingsError(message, fix="save the file as UTF-8") from None
    try:
        # _Loader is a SafeLoader.
        document = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        if error.note:
            raise SettingsError(
                str(error.problem), where=place, allowed="plain YAML", fix=f"{error.note}: {place}"
            ) from None
        raise SettingsError(f"not valid YAML: {error.problem}", where=place, fix=f"correct {place}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"not valid YAML: {str(error)[:200]}", where=where, fix=f"correct {where}") from None
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"a value cannot be read: {str(error)[:200]}", where=where, fix=f"correct {where}"
        ) from None
    except RecursionError:
        raise SettingsError("nested too deeply", where=where, fix=f"{where} needs four levels at most") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise SettingsError(
            f"the top level is a {kind}", where=where, allowed="a mapping of host names", fix="see hosts.example.yml"
        )
    return document
