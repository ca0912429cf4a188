"""Folders that are either complete or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder beside `target` to be filled; it becomes `target` at the end, and is removed on any error.

    Where another process completed `target` in the meantime, that one stays.  Raises `OSError` where nothing can be
    written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)  # of a killed process that had our number
    beside.mkdir()
    try:
        yield beside
        try:
            os.rename(beside, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
