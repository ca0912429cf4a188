"""Workers for the tiles of one solve: threads that run kernels, which hold no interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait


class _Pool:
    """Threads that are made when first needed; a forked process makes its own, since threads do not survive a fork."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._size = self._process = 0

    def executor(self, size: int) -> ThreadPoolExecutor:
        """At least `size` threads."""
        if self._executor is None or self._size < size or self._process != os.getpid():
            self._executor = ThreadPoolExecutor(size, thread_name_prefix="pynode-fused")
            self._size, self._process = size, os.getpid()
        return self._executor


_POOL = _Pool()


def run_all(work: Callable[[int], None], workers: int) -> None:
    """Calls `work(0)` to `work(workers - 1)` at the same time, the first in the calling thread."""
    if workers == 1:
        work(0)
        return
    executor = _POOL.executor(workers - 1)
    others = [executor.submit(work, i) for i in range(1, workers)]
    try:
        work(0)
    finally:
        wait(others)
    for other in others:
        other.result()
