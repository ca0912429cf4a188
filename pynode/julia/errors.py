"""Errors of the Julia backend: Julia is missing, its process dies, hangs or answers nonsense, or Julia code raises."""

from __future__ import annotations

from pynode.errors import RunFailure, UsageError
from pynode.wording import COMMAND

SET_UP = f"{COMMAND} julia setup"
"""The command that installs what is missing."""


class JuliaUnavailable(UsageError):
    """Julia, its project or a package is missing; one line says what, and the command that installs it."""

    def __init__(self, missing: str, remedy: str = f"run: {SET_UP}") -> None:
        self.missing, self.remedy = missing, remedy
        super().__init__(f"Julia can't be used: {missing}; {remedy}")


class SetupFailed(RunFailure):
    """The Julia environment could not be installed; Julia's own output is printed above."""


class WorkerError(RunFailure):
    """The Julia worker process could not do its work; if it has ended, the next call starts a new one."""


class WorkerDied(WorkerError):
    """The worker process ended while an answer, or a solution that it kept, was needed."""


class WorkerTimeout(WorkerError):
    """The worker process did not answer within the time limit and was ended."""


class WorkerGarbage(WorkerError):
    """The worker process sent an invalid answer and was ended."""


class JuliaError(RunFailure):
    """Julia code raised an exception.

    `julia_message` is what Julia prints for it, `julia_backtrace` the stack in Julia as text ("" where there is none),
    `julia_type` the name of the exception's type.
    """

    def __init__(self, message: str, backtrace: str = "", kind: str = "") -> None:
        self.julia_message, self.julia_backtrace, self.julia_type = message, backtrace, kind
        super().__init__(f"Julia: {message}")
        if backtrace and hasattr(self, "add_note"):  # shown below a Python traceback, from Python 3.11 on
            self.add_note(f"Julia's stack:{backtrace}")


class ReferenceFailed(RunFailure):
    """The solver of a reference trajectory gave up before the last output time."""


class Cancelled(RunFailure):
    """The worker stopped a solve because it was asked to."""
