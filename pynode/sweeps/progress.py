"""How far a cell is, read from what its run leaves on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pynode.errors import RecordError
from pynode.records.content import Unreadable, check_regular, is_there, read_content
from pynode.records.iteration import IterationRecord
from pynode.records.run_files import SUMMARY
from pynode.records.runs import RECORDS
from pynode.records.schema import convert, decode, parse
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
    """What `cell` has done so far, also while its run is being written."""
    record = _last_record(cell.directory(out) / RECORDS)
    try:
        tries = read_content(cell.attempts(out)).count(b"\n")
    except Unreadable:
        tries = 0
    if record is None:
        return CellProgress(0, None, tries)
    return CellProgress(record.iteration + 1, record.loss, tries)


def is_finished(cell: Cell, out: Path) -> bool:
    """Whether the run is finished and all its files are intact, by the same rules as in a resumed run."""
    directory = cell.directory(out)
    if not is_there(directory / SUMMARY):
        return False
    try:
        _, damaged = checkpoint.read_intact(directory)
    except RecordError:  # the run itself says what is wrong
        return False
    config = RunConfig.from_json(usable_here(cell.config))
    return not damaged and finished(directory, config) is not None


def _last_record(path: Path) -> IterationRecord | None:
    """The record in the last whole line; None where there is none, or a damaged one, which the run itself reports."""
    try:
        size = check_regular(path)
        with path.open("rb") as file:
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")[:-1]
        return convert(parse(decode(lines[-1])), IterationRecord) if lines else None
    except (OSError, ValueError):
        return None
