"""How far a cell is, read from what its run leaves on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.run_files import SUMMARY
from pynode.sweeps.cells import Cell
from pynode.training import checkpoint
from pynode.training.config import RunConfig, usable_here
from pynode.training.run_directory import finished

TAIL_BYTES = 4096
"""More than two records have."""


@dataclass(frozen=True)
class CellProgress:
    """Finished iterations, the last loss (None before the first), and how often the run was begun."""

    iterations: int
    loss: float | None
    tries: int


def read_progress(cell: Cell, out: Path) -> CellProgress:
    """What `cell` has done so far; a run that is being written meanwhile does no harm."""
    record = _last_record(cell.directory(out) / "records.jsonl")
    attempts = cell.attempts(out)
    tries = attempts.read_bytes().count(b"\n") if attempts.exists() else 0
    if record is None:
        return CellProgress(0, None, tries)
    return CellProgress(int(record["iteration"]) + 1, record.get("loss"), tries)


def is_finished(cell: Cell, out: Path) -> bool:
    """Whether the run needs no more work, as the run itself would find: all is done, and all of it is intact."""
    directory = cell.directory(out)
    if not (directory / SUMMARY).exists():
        return False
    try:
        _, damaged = checkpoint.read_intact(directory)
    except RecordError:  # the run itself says what is wrong
        return False
    return not damaged and finished(directory, RunConfig.from_json(usable_here(cell.config))) is not None


def _last_record(path: Path) -> dict[str, Any] | None:
    """The last whole line; None where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
        found = json.loads(lines[-1]) if lines else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "iteration" in found else None
