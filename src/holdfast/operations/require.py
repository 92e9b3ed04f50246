"""What the settings alone say cannot work: told by the first operations of an apply, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from holdfast.errors import HoldfastError
from holdfast.operations.failing import fail, stop


@operation()
def require(problem: HoldfastError | None) -> Iterator[FunctionCommand]:
    """Stops this host with ``problem``, if there is one."""
    if problem is None:
        host.noop("nothing stands in the way")
        return
    yield from stop(problem)


@operation()
def unknowable(problem: HoldfastError) -> Iterator[FunctionCommand]:
    """In place of an operation that nobody can spell out because of ``problem``: pending in a plan. An apply has been
    stopped by it before."""
    yield fail(problem)
