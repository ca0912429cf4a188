"""Tables of a page about runs: how each ended, what all of them were configured with, and in what they differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.files import read_json
from pynode.records.runs import Run
from pynode.studies.base import Table, number
from pynode.studies.losses import recorded_loss

NOTHING = "–"
CHECKSUM = "checksum"
SWEEP = "sweep.json"
"""The file with the axes of a sweep; a suite has none."""

COLUMNS: tuple[tuple[str, str, float], ...] = (
    # column, key of a summary, scale
    ("failed iterations", "failed_iterations", 1),
    ("best {loss}", "best_validation_loss", 1),
    ("training s", "training_seconds", 1),
    ("ms per iteration", "seconds_per_iteration", 1e3),
    ("evaluations per iteration", "evaluations", 1),
    ("peak memory MB", "peak_memory_bytes", 1e-6),
    ("load", "load_average", 1),
)


def run_tables(runs: Sequence[Run]) -> list[Table]:
    """Of each run its end and its costs; the settings of all runs, and those in which they differ."""
    if not runs:
        return []
    settings = {run.label: dict(_entries(run.config)) for run in runs}
    names = dict.fromkeys(chain(*settings.values()))
    values = {name: [each.get(name, NOTHING) for each in settings.values()] for name in names}
    shared = {name: each[0] for name, each in values.items() if len(set(each)) == 1}
    tables = [_ends(runs)]
    if differing := [name for name in values if name not in shared]:
        rows = [[label, *(values[name][k] for name in differing)] for k, label in enumerate(settings)]
        tables.append(Table("Settings in which the runs differ", ["run", *differing], rows))
    same = "Settings of all runs" if len(runs) > 1 else "Settings of the run"
    tables.append(Table(same, ["setting", "value"], [list(pair) for pair in shared.items()], long=True))
    return tables


def sweep_tables(directory: Path) -> list[Table]:
    """The axes of a sweep and what it ran on; nothing where `directory` holds none, or its file can't be read."""
    try:
        noted = read_json(directory / SWEEP)
    except RecordError:
        return []
    rows = [list(pair) for part in ("axes", "running") for pair in _entries(_mapping(noted).get(part))]
    return [Table("The sweep", ["option", "values"], rows)] if rows else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _ends(runs: Sequence[Run]) -> Table:
    cells: dict[str, Callable[[Run], str]] = {
        "run": lambda run: run.label,
        "method": lambda run: run.method,
        "engine": lambda run: str((run.summary or {}).get("engine") or NOTHING),
        "seed": lambda run: str(run.seed),
        "end": end_of,
        "iterations": lambda run: f"{len(run.records):,}",
    }
    loss = recorded_loss(runs)
    cells |= {column.format(loss=loss): partial(_measured, key=key, scale=scale) for column, key, scale in COLUMNS}
    columns = {name: [cell(run) for run in runs] for name, cell in cells.items()}
    shown = {name: column for name, column in columns.items() if set(column) - {NOTHING}}
    return Table("Runs", list(shown), [list(row) for row in zip(*shown.values(), strict=True)])


def _measured(run: Run, key: str, scale: float) -> str:
    value = (run.summary or {}).get(key)
    return NOTHING if value is None else number(scale * value, 4)


def end_of(run: Run) -> str:
    """How a run ended, in a word or two."""
    if run.summary is None:
        return "not finished"
    return "stopped early" if run.summary.get("stopped_early") else str(run.summary["status"])


def _entries(config: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a configuration as text, nested ones by dotted names."""
    for key, value in _mapping(config).items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _entries(value, f"{name}.")
        elif name != CHECKSUM:
            yield name, value_text(value)


def value_text(value: object) -> str:
    """A value of a JSON file for a table."""
    if value is None or value in ({}, []):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
