"""Why something could not be done, and what a person does about it."""

from __future__ import annotations

import errno


class Refused(Exception):
    """`problem` names value and place, `fix` the remedy.  As text it is one line: Ollama hands single lines on.

    Never write of memory that is "out" or "failed to allocate": Ollama takes such words as a reason to evict models and
    to try again (ollama llm/status.go, outOfMemorySubstrings).
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem, self.fix = problem, fix

    def __str__(self) -> str:
        return " ".join(f"{self.problem}. Fix: {self.fix}".split())


def disk(error: OSError, doing: str, path: str, directory: str) -> Refused:
    """A file of the lease that could not be made, written or read; also where too many files are open."""
    problem = f"cannot {doing} {path}: {error.strerror or error}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Refused(problem, "fewer clients at once; a restart closes all: sudo systemctl restart 'ollama@*'")
    return Refused(
        problem,
        f"{directory} must be there, belong to the instances' user and have room: ls -ld {directory}; df -h {directory}; "
        "a restart of all instances makes it anew: sudo systemctl restart 'ollama@*'",
    )
