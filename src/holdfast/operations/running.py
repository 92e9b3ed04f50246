"""Running a command within an operation that decides as it goes, the way pyinfra runs one that an operation yields."""

from __future__ import annotations

from typing import Any

from pyinfra.api import StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS

_LAST = 8


def run(state: Any, host: Any, command: StringCommand) -> tuple[bool, list[str]]:
    """(whether ``command`` went well, the last lines of what it said, those of stderr first), with the operation's own
    sudo and the command's own ``_stdin``."""
    arguments = {k: v for k, v in (host.current_op_global_arguments or {}).items() if k in CONNECTOR_ARGUMENT_KEYS}
    arguments.update(command.connector_arguments)
    ok, output = host.run_shell_command(
        command, print_output=state.print_output, print_input=state.print_input, **arguments
    )
    return ok, [line for line in (*output.stderr_lines, *output.stdout_lines) if line.strip()][-_LAST:]
