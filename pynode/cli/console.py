"""A console that a closed pipe or terminal does not bring down: training goes on without being watched."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from rich.console import Console


class Steady:
    """A stream that falls silent where writing fails; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes, or does as if."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._fall_silent()
            return len(text)

    def flush(self) -> None:
        """Flushes, or does as if."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._fall_silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self) -> None:
        """Lets the stream write to nowhere, so that Python does not stumble over the rest of it at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        except (OSError, ValueError):  # closed, or no file at all
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
        finally:
            os.close(nowhere)


def steady_console() -> Console:
    """The console of a command that trains."""
    return Console(file=Steady(sys.stdout))  # type: ignore[arg-type]
