"""How far a cell is, read from what its run leaves on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.files import read_json
from pynode.sweeps.cells import Cell

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
    """Whether the run needs no more work: all its iterations are done and summed up, or it stopped early."""
    summary = read_summary(cell, out)
    if summary is None or summary.get("status") != "finished":
        return False
    return bool(summary.get("stopped_early")) or int(summary.get("iterations", 0)) >= cell.iterations


def read_summary(cell: Cell, out: Path) -> dict[str, Any] | None:
    """The run's summary; None where there is none that can be read: the run itself deals with a damaged one."""
    path = cell.directory(out) / "summary.json"
    if not path.exists():
        return None
    try:
        found = read_json(path)
    except RecordError:
        return None
    return found if isinstance(found, dict) else None


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
