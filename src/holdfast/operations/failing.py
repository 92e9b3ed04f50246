"""How an operation ends a host's apply with a message: raising in a generator would end every host, with a traceback."""

from __future__ import annotations

from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand
from pyinfra.context import ctx_host

from holdfast.errors import HoldfastError
from holdfast.operations.events import emit


def report(host: Any, error: HoldfastError) -> None:
    """Show ``error`` as this host's."""
    host.log_styled(error.render(), fg="red", log_func=logger.error)
    _emit(host, error)


def _emit(host: Any, error: HoldfastError) -> None:
    emit("error", host=host.name, message=error.message, where=error.where, allowed=error.allowed, fix=error.fix)


def _fail(state: Any, host: Any, error: HoldfastError) -> bool:
    report(host, error)
    return False


def fail(error: HoldfastError) -> FunctionCommand:
    """To be yielded by an operation: this host fails here with ``error``. A plan, which runs no commands, tells it, too."""
    if ctx_host.isset() and not host.state.is_executing:
        _emit(host, error)
    return FunctionCommand(_fail, (error,), {})
