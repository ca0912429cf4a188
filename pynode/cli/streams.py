"""Standard streams that can't bring a command down: closed ones, full ones, and those that lack a letter."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "×": "x", "·": ".", "…": ".", "’": "'", "±": "~", "≤": "<"})
"""What stands for a letter that the encoding of a stream lacks, one for one, so that columns stay aligned."""


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replaces what can't be encoded: by a plain letter, by the byte that a file name holds, or by an escape."""
    assert isinstance(error, UnicodeEncodeError)
    shown = ""
    for letter in error.object[error.start : error.end]:
        code = ord(letter)
        if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
            shown += f"\\x{code - 0xDC00:02x}"
        else:
            plain = letter.translate(PLAIN)
            shown += plain if plain.isascii() else plain.encode("ascii", "backslashreplace").decode()
    return shown, error.end


codecs.register_error("pynode.plainer", _plainer)


class SteadyStream:
    """A text stream that falls silent where writing fails; everything else is the stream's own.

    `failure` is the error by which output was lost.  A reader that has gone (`show DIR | head`) wants no more, so that
    is none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None else _nowhere()
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Writes, or does as if."""
        try:
            try:
                return self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                return self._stream.write(text.encode(encoding, "pynode.plainer").decode(encoding))
        except (OSError, ValueError) as error:
            self._fall_silent(error)
            return len(text)

    def flush(self) -> None:
        """Flushes, or does as if."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fall_silent(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self, error: Exception) -> None:
        """Lets the stream write to nowhere, so that Python does not stumble over the rest of it at its end."""
        if isinstance(error, OSError) and error.errno not in (errno.EPIPE, errno.EBADF) and self.failure is None:
            self.failure = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        except (OSError, ValueError):  # closed, or no file at all
            self._stream = _nowhere()
        finally:
            os.close(nowhere)


@contextlib.contextmanager
def steady_streams() -> Iterator[SteadyStream]:
    """Lets `sys.stdout` and `sys.stderr` be steady, and gives the first of them."""
    before = sys.stdout, sys.stderr
    out, error = (s if isinstance(s, SteadyStream) else SteadyStream(s) for s in before)
    sys.stdout, sys.stderr = out, error
    try:
        yield out
    finally:
        out.flush()
        error.flush()
        sys.stdout, sys.stderr = before


def occupy_closed_descriptors() -> None:
    """Opens /dev/null as stdin, stdout or stderr where the shell has closed them (`>&-`).

    Otherwise the next file that is opened gets that number, and what a library prints goes into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)  # children inherit it, as they do any standard stream
            if nowhere != number:
                os.close(nowhere)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # (as long as the process)
