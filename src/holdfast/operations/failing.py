"""How an operation ends a host's apply with a message: raising in a generator would end every host, with a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyinfra import host, logger
from pyinfra.api import FunctionCommand
from pyinfra.context import ctx_host

from holdfast.errors import STOPS, HoldfastError
from holdfast.operations.events import emit


def report(host: Any, error: HoldfastError) -> None:
    """Show ``error`` as this host's."""
    host.log_styled(error.render(), fg="red", log_func=logger.error)
    _emit("error", host, error)


def _emit(kind: str, host: Any, error: HoldfastError) -> None:
    emit(kind, host=host.name, code=error.code, **error.data())


def _fail(state: Any, host: Any, error: HoldfastError) -> bool:
    report(host, error)
    return False


def fail(error: HoldfastError) -> FunctionCommand:
    """To be yielded by an operation: this host fails here with ``error``. A plan, which runs no commands, tells it as what
    would stop an apply, and lists the operation as pending."""
    if planning():
        _tell_stop(error)
    return FunctionCommand(_fail, (error,), {})


def stop(error: HoldfastError) -> Iterator[FunctionCommand]:
    """As fail, for an operation that changes nothing itself: a plan does not list it as pending."""
    if planning():
        _tell_stop(error)
        host.noop(f"{STOPS}: {error.message}")
        return
    yield FunctionCommand(_fail, (error,), {})


def planning() -> bool:
    """Whether operations are only looked at."""
    return ctx_host.isset() and not host.state.is_executing


def _tell_stop(error: HoldfastError) -> None:
    host.log_styled(error.render(STOPS), fg="yellow", log_func=logger.warning)
    _emit("stop", host, error)
