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

from pynode.errors import OutputDirectoryError

_log = logging.getLogger("pynode")

LOCK, HOLDER = ".lock", ".holder"

NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What a file system says that knows no locks."""


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Holds `directory`, which exists, for this process; raises `OutputDirectoryError` where another one holds it.

    The operating system holds the lock (flock, or its like): it goes with the process, however that ends, and no
    clock has a part in it.  A file system that knows no locks is used without, with a warning.
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
        with contextlib.suppress(OSError):  # only the message to others would miss it
            (directory / HOLDER).write_text(json.dumps([os.getpid(), socket.gethostname()]), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            (directory / HOLDER).unlink(missing_ok=True)
        held.release()


def _holder(directory: Path) -> str:
    try:
        pid, host = json.loads((directory / HOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return "another process"
    return f"process {pid} on {host}"
