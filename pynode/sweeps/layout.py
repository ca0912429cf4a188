"""The file sweep.json: the cells of a sweep and where they run, so that a resumed sweep is the same one or a larger
one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from pynode.errors import ConfigurationMismatch, PynodeError, RecordError, UsageError
from pynode.records.content import is_there
from pynode.records.files import read_object, write_json
from pynode.records.run_files import CONFIG
from pynode.settings.values import shown
from pynode.sweeps.axes import DATA, Axes
from pynode.sweeps.cells import Cell
from pynode.sweeps.needs import Needs
from pynode.sweeps.specification import specify
from pynode.training.config import RunConfig, recorded_config, usable_here

FILE = "sweep.json"
KEYS = ("axes", "needs", "running", "cells")
TOLD = 3
"""Names of missing cells that an error gives at most."""
REMEDY = "restore it, or choose another --out"


class _SweepNeeds(TypedDict):
    axes: dict[str, list[Any]]
    needs: dict[str, Any]
    cells: list[dict[str, Any]]


class SweepKeys(_SweepNeeds, total=False):
    """The content of sweep.json; `specify` and `Cell.from_json` check its parts."""

    running: dict[str, Any]


def write_sweep(
    out: Path, axes: Axes, cells: list[Cell], needs: Needs | None = None, running: Mapping[str, Any] | None = None
) -> None:
    """Writes the specification of a sweep that is about to run in `out`, `running` on what executor and how."""
    wanted = (needs or Needs()).to_json()
    values = (axes.to_json(), wanted, dict(running or {}), [cell.to_json() for cell in cells])
    write_json(out / FILE, dict(zip(KEYS, values, strict=True)))


def read_values(out: Path) -> dict[str, Any]:
    """Axes, needs and executor of the sweep in `out`, as they would stand in its file; raises `RecordError`."""
    content = _read(out)
    values = {**content["axes"], **content["needs"], **content["running"]}
    try:
        specify(values)
    except UsageError as error:
        raise RecordError(f"{out / FILE} is damaged: {error}; {REMEDY}") from error
    return values


def read_running(out: Path) -> dict[str, Any]:
    """The executor that the sweep in `out` ran on last, and its options; raises `RecordError`."""
    return dict(_read(out)["running"])


def with_earlier_names(out: Path, cells: list[Cell]) -> list[Cell]:
    """`cells` with the names that those of the sweep in `out` have which differ in the place of their file alone.

    Where a sweep is over several files, a cell's name says which; a file that has moved is known by its SHA-256 digest.
    """
    before = _cells(out, _read(out)["cells"])
    names = {cell.name for cell in before}
    labels: dict[str, list[str]] = {}
    for cell in before:
        labels.setdefault(_apart_from_place(cell), []).append(cell.label)
    mine = Counter(_apart_from_place(cell) for cell in cells)
    renamed = []
    for cell in cells:
        earlier = labels.get(content := _apart_from_place(cell), [])
        same = cell.name not in names and len(earlier) == 1 and mine[content] == 1
        renamed.append(replace(cell, label=earlier[0]) if same else cell)
    return renamed


def _apart_from_place(cell: Cell) -> str:
    """What a cell runs, whatever the place of its file; its name too where no digest tells the file."""
    options = dict(cell.config.get("options", {}))
    if options.get("sha256") is None:
        return json.dumps([cell.name, cell.config], sort_keys=True)
    return json.dumps([cell.problem, {**cell.config, "options": {**options, DATA: None}}], sort_keys=True)


def check_resumes(out: Path, axes: Axes, cells: list[Cell]) -> None:
    """Raises `ConfigurationMismatch` unless `cells` are those of the sweep in `out` and perhaps more.

    A cell may have more iterations than before, and other needs.
    """
    earlier = _read(out)
    mine = {cell.name: cell for cell in cells}
    before = _cells(out, earlier["cells"])
    missing = [cell.name for cell in before if cell.name not in mine]
    if missing:
        plain = json.loads(json.dumps(axes.to_json()))
        there: dict[str, Any] = earlier["axes"]
        changed = [
            f"{name}: {_axis(there.get(name))} -> {_axis(plain.get(name))}"
            for name in dict.fromkeys((*there, *plain))
            if there.get(name) != plain.get(name)
        ]
        more = f" and {len(missing) - TOLD} more" if len(missing) > TOLD else ""
        raise ConfigurationMismatch(
            f"{out} holds a sweep over another grid ({'; '.join(changed)}): this one lacks "
            f"{', '.join(missing[:TOLD])}{more}; a resumed sweep can only get more cells, so keep all values and add "
            "to them, or choose another --out"
        )
    for cell in before:
        check_same_run(mine[cell.name], cell.config)


def check_same_run(cell: Cell, earlier: Mapping[str, Any]) -> None:
    """Raises `ConfigurationMismatch` unless `cell` continues the run that the configuration `earlier` began."""
    # a configuration can be made where its device is, which need not be here
    RunConfig.from_json({**cell.config, "device": "cpu"}).check_resumes({**earlier, "device": "cpu"})


def check_runs(out: Path, cells: list[Cell]) -> None:
    """Raises `ConfigurationMismatch` where a run directory holds another run than its cell."""
    for cell in cells:
        if not is_there(cell.directory(out) / CONFIG):
            continue
        try:
            earlier = recorded_config(cell.directory(out))
        except RecordError:  # damaged: the run has a copy in its checkpoint, and says so
            continue
        check_same_run(cell, earlier)


def _read(out: Path) -> dict[str, Any]:
    content = read_object(out / FILE, SweepKeys, REMEDY)
    if unknown := sorted(set(content) - set(KEYS)):
        raise RecordError(
            f"{out / FILE} has {', '.join(unknown)}, which this version of pynode does not know; resume the sweep with "
            "the version that began it, or choose another --out"
        )
    content.setdefault("running", {})
    _cells(out, content["cells"])
    return content


def _cells(out: Path, content: list[Any]) -> list[Cell]:
    cells = []
    for number, plain in enumerate(content):
        try:
            cell = Cell.from_json(plain)
            if RunConfig.from_json(usable_here(cell.config)).problem != cell.problem:
                raise ValueError(f"its config is of {cell.config['problem']}, not of {cell.problem}")
        except (ValueError, PynodeError) as error:
            raise RecordError(f"{out / FILE} is damaged: cells[{number}]: {error}; {REMEDY}") from error
        cells.append(cell)
    return cells


def _axis(values: Any) -> str:
    return "none" if values is None else shown(values)
