"""Facts that carry their own source: nothing on the host is trusted to be there or to be of this version."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from pyinfra.api import FactBase, FunctionCommand, StringCommand
from pyinfra.api.exceptions import FactProcessError

from holdfast.errors import HoldfastError
from holdfast.operations.failing import fail

# In pyinfra's connector_data: what reads facts faster than a command of their own (apply/reader.py), where there is one.
READER = "holdfast-reader"
# Without python3 (a bare machine) a fact says so and is read as "nothing is there".
_PYTHON = "command -v python3 >/dev/null 2>&1 || { echo null; exit 0; }; exec python3 -I -S -"


# What a function calls of its own project's: it travels along.
_TAKEN: dict[Callable[..., Any], tuple[Callable[..., Any], ...]] = {}


def taking(function: Callable[..., Any], *others: Callable[..., Any]) -> None:
    """``function``, sent to a host, takes ``others`` along, which it calls by their names there."""
    _TAKEN[function] = others


def program(function: Callable[..., Any], **arguments: Any) -> str:
    """The source of a Python program (standard library only, 3.10+) that prints ``function(**arguments)`` as JSON."""
    source = "\n".join(map(inspect.getsource, (*_TAKEN.get(function, ()), function)))
    return (
        f"from __future__ import annotations\nimport json\n{source}\n"
        f"print(json.dumps({function.__name__}(**json.loads({json.dumps(json.dumps(arguments))}))))\n"
    )


class PythonFact(FactBase[Any]):
    """A fact whose reader is a Python function sent by stdin: ``MyFact.read(host, …)``.

    The value is the function's JSON result, or ``None`` on a machine without python3.
    """

    abstract: ClassVar[bool] = True
    # The function that runs on the host. It imports what it needs inside its body.
    reader: ClassVar[Callable[..., Any]]

    @staticmethod
    def default() -> Any:
        return None

    @classmethod
    def source(cls, **arguments: Any) -> str:
        return program(cls.reader, **arguments)

    @classmethod
    def read(cls, host: Any, **arguments: Any) -> Any:
        """The fact's value on ``host``: one round trip."""
        source = cls.source(**arguments)
        reader = host.connector_data.get(READER)
        said = reader.read(source) if reader is not None else None
        if said is not None:
            # What it cannot be made sense of is read once more, by pyinfra, which also tells it as it tells every error.
            with suppress(FactProcessError):
                return cls().process(said.splitlines())
        return host.get_fact(cls, _stdin=source)

    def command(self) -> StringCommand:
        return StringCommand(_PYTHON)

    def process(self, output: list[str]) -> Any:
        try:
            return json.loads(output[-1])
        except (IndexError, ValueError) as error:
            raise FactProcessError(f"{type(self).__name__}: not JSON: {output[-3:]}") from error


def without_python(host: Any) -> FunctionCommand:
    """To be yielded in an apply where a fact is ``None``: what installs python3, the component base, must have failed."""
    return fail(
        HoldfastError("python3 is missing on the machine", where=host.name, fix="apply again: base installs it")
    )


def python_command(source: str) -> StringCommand:
    """Run ``source`` on the host with python3; it travels by stdin and so stands in no argv, log or file. Its result is
    not shown."""
    return StringCommand("python3", "-I", "-S", "-", ">/dev/null", _stdin=source)
