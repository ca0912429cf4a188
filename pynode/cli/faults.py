"""Turns what ended a command into one line and an exit status: mistakes of use, faults of the machine, Ctrl-C."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection

import typer

from pynode.cli.as_typed import as_typed, paths_as_typed
from pynode.errors import InvalidArgument, PynodeError
from pynode.outside_members import blame

# the base of all of typer's own complaints about arguments: click's, or of the copy of click that newer typers bring
_UsageComplaint: type[Exception] = typer.BadParameter.__mro__[2]

INTERRUPTED = 130

RESUMABLE = ("compare", "density", "series", "suite", "sweep", "gradients", "map")
"""Commands that have `--resume`."""

WRONG_PATHS = {
    # what a system says of a path that the user gave, and what to do
    errno.ENAMETOOLONG: "give another path",
    errno.ELOOP: "give another path",
    errno.EILSEQ: "give another path",
    errno.EINVAL: "give another path",
    errno.ENOENT: "give a path that exists",
    errno.ENOTDIR: "give a path that exists",
    errno.EISDIR: "give a file",
    errno.EACCES: "give a path that you may use, or change its permissions",
    errno.EPERM: "give a path that you may use, or change its permissions",
}

MACHINE = {
    # other faults, and what to do
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EROFS: "choose a place that can be written to",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has no file handle left",
    errno.ENOMEM: "make memory free, or take a smaller problem",
    errno.EAGAIN: "raise the limit of processes and threads (ulimit -u)",
}

LESS_MEMORY = {
    "compare": "take a smaller batch or --memory checkpoint",
    "density": "take a smaller batch (--set batch=N) or --memory checkpoint",
    "sample": "draw fewer samples (-n)",
    "evaluate": "use fewer samples (--samples)",
}


def line_of(
    error: BaseException, words: list[str], flags: Callable[[], Collection[str]] = tuple
) -> tuple[str, int] | None:
    """What to say about `error`, which ended the command line `words`, and the exit status.

    An argument is named as the option that it comes from, where that is one of the `flags` of the command.

    None for anything that can only be a fault of the program.
    """
    command = command_of(words)
    if isinstance(error, PynodeError):
        return paths_as_typed(as_typed(_as_option(error, flags), command), words), error.exit_status
    if isinstance(error, (typer.Abort, KeyboardInterrupt)):
        return interrupted(words), INTERRUPTED
    if isinstance(error, _UsageComplaint):
        said = str(error.format_message()) if hasattr(error, "format_message") else str(error)
        return f"{said} (see --help)", 2
    if isinstance(error, OSError):
        return _of_system(error)
    if is_out_of_memory(error):
        remedy = LESS_MEMORY.get(command, "take a smaller problem")
        resumed = "; --resume continues the run" if command in RESUMABLE else ""
        return f"out of memory; {remedy}{resumed}", 1
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"no more threads can be started; {MACHINE[errno.EAGAIN]}", 1
    if (place := blame(error)) is not None:
        return place, 1
    return None


def _as_option(error: PynodeError, flags: Callable[[], Collection[str]]) -> str:
    said = str(error)
    if isinstance(error, InvalidArgument) and said.startswith(f"{error.argument} = "):
        option = f"--{error.argument.replace('_', '-')}"
        if error.argument.isidentifier() and option in flags():
            return option + said.removeprefix(error.argument)
    return said


def interrupted(words: list[str]) -> str:
    """What to say after Ctrl-C."""
    kept = "; what was recorded is kept, --resume continues from the last checkpoint"
    return f"interrupted{kept if command_of(words) in RESUMABLE else ''}"


def command_of(words: list[str]) -> str:
    """The command that a command line names."""
    return next((word for word in words if not word.startswith("-")), "compare")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: Python's or NumPy's, or torch's on the CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in said or "not enough memory" in said or "Storage size calculation overflowed" in said
    )


def _of_system(error: OSError) -> tuple[str, int]:
    """A call of the system failed: which file, why, what to do."""
    name = str(error.filename)[:200] if error.filename is not None else ""
    reason = error.strerror or str(error) or type(error).__name__
    number = error.errno or 0
    remedy = WRONG_PATHS.get(number) or MACHINE.get(number)
    said = f"{name}: {reason}" if name else reason
    return f"{said}; {remedy}" if remedy else said, 2 if number in WRONG_PATHS and name else 1
