"""The bytes of a file: regular files of a bounded size only, so that reading never hangs and never fills the memory."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from pathlib import Path

LIMIT = 1 << 30
"""Bytes that a file which is read as a whole may have, unpacked."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unreadable(ValueError):
    """A file can't be read; the message is the reason, without the path."""


def is_there(path: Path) -> bool:
    """Whether something has this name, be it a link that leads nowhere or a thing that may not be looked at."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # reading it says why it can't be looked at
    return True


def check_regular(path: Path) -> int:
    """The size of a regular file in bytes; raises `Unreadable` for anything else that has this name, or nothing."""
    try:
        status = path.stat()
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise Unreadable(f"it is {kind}, not a regular file")
    return status.st_size


def read_content(path: Path, limit: int = LIMIT) -> bytes:
    """All bytes of a regular file, unpacked if its name ends in `.gz`; raises `Unreadable` with the reason."""
    if check_regular(path) > limit:
        raise Unreadable(f"it has more than {limit >> 20} MiB")
    try:
        # without waiting, should it have become a pipe since it was looked at
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            content = file.read(limit + 1)
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(limit + 1)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except (EOFError, zlib.error) as error:
        raise Unreadable(str(error)) from error
    if len(content) > limit:
        raise Unreadable(f"it has more than {limit >> 20} MiB")
    return content
