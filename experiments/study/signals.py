"""SIGINT, SIGTERM and SIGHUP while a command of the plan runs: the command saves and ends, and then the study stops."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from pynode.training.signals import SIGNALS, Hearing

INTERRUPTED = {status for number in SIGNALS for status in (128 + number, -number)}
"""Exit statuses of a command that was interrupted: it saved and said so, or the signal ended it."""


class Signals(Hearing):
    """Context in which signals are passed on to the command that runs; `requested` is the last one, None before.

    The command is in a session of its own, so that Ctrl-C reaches it through this process alone.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._command: subprocess.Popen[bytes] | None = None

    def run(self, words: Sequence[str], log: IO[str], *, cwd: Path, env: Mapping[str, str]) -> int:
        """Runs a command, its output in `log`; its exit status, negative where a signal ended it.

        After a signal nothing starts any more, and the status is that of an interrupted command.
        """
        if self.requested is not None:
            return 128 + self.requested
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        ) as command:
            self._command = command
            if (number := self._heard()) is not None:  # while the command was started
                command.send_signal(number)
            try:
                return command.wait()
            finally:
                self._command = None

    def _heard(self) -> int | None:
        return self.requested

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.requested = number
        if self._command is not None:
            self._command.send_signal(number)


def name_of(status: int) -> str:
    """The signal behind the exit status of an interrupted command."""
    return signal.Signals(status - 128 if status > 0 else -status).name
