"""What can go wrong with a sweep beside its runs."""

from __future__ import annotations

from pathlib import Path

from pynode.errors import PynodeError, UsageError
from pynode.sweeps.cells import counted


class SweepError(UsageError):
    """A grid that can't be run: the same cell twice, or two cells that would share a directory."""


class ExecutorUnavailable(UsageError):
    """An executor can't be used here: a package is missing, or no cluster answers at the address."""


class SweepInterrupted(PynodeError):
    """A signal ended a sweep; its exit status is that of a program ended by that signal, e.g. 130 for Ctrl-C."""

    def __init__(self, signal_number: int, finished: int, cells: int, out: Path) -> None:
        self.exit_status = 128 + signal_number
        super().__init__(
            f"interrupted with {finished} of {counted(cells)} finished; what was recorded is kept, and the same "
            f"command with --resume --out {out} continues from the last checkpoints"
        )
