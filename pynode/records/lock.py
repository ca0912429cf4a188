"""One process at a time in a run directory."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pynode.errors import OutputDirectoryError, StorageError
from pynode.records.content import read_content
from pynode.records.files import write_atomically
from pynode.records.schema import convert, decode, parse

_log = logging.getLogger("pynode")

LOCK, HOLDER = ".lock", ".holder"

NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What a file system says that knows no locks."""


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Holds `directory`, which exists, for this process; raises `OutputDirectoryError` where another one holds it.

    The operating system holds the lock (flock or an equivalent) and releases it when the process ends, however it
    ends.  On a file system without locks there is a warning instead.
    """
    held = FileLock(directory / LOCK, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise OutputDirectoryError(
            f"--out {directory}: in use by {_holder(directory)}; wait for it, stop it, or choose another directory"
        ) from None
    except (NotImplementedError, OSError) as error:  # filelock has the first for ENOSYS
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise OutputDirectoryError(
                f"--out {directory}: can't be locked ({error.strerror}); choose another directory"
            ) from error
        _log.warning("%s: its file system knows no locks; start no other command in it", directory)
        yield
        return
    try:
        with contextlib.suppress(StorageError):  # only the message to others would miss it
            write_atomically(directory / HOLDER, json.dumps([os.getpid(), socket.gethostname()]).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            (directory / HOLDER).unlink(missing_ok=True)
        held.release()


def _holder(directory: Path) -> str:
    try:
        pid, host = convert(parse(decode(read_content(directory / HOLDER))), tuple[int, str])
    except ValueError:
        return "another process"
    return f"process {pid} on {host}"
