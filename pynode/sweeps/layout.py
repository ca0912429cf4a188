"""A sweep's own file, sweep.json: which cells it has, so that a resumed sweep is the same one or a larger one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pynode.errors import ConfigurationMismatch, RecordError
from pynode.records.files import read_json, write_json
from pynode.sweeps.axes import Axes
from pynode.sweeps.cells import Cell
from pynode.sweeps.needs import Needs
from pynode.sweeps.values import shown
from pynode.training.config import RunConfig

FILE = "sweep.json"
TOLD = 3
"""Names of missing cells that an error gives at most."""


def write_sweep(out: Path, axes: Axes, cells: list[Cell], needs: Needs | None = None) -> None:
    """Writes the specification of a sweep that is about to run in `out`."""
    wanted = (needs or Needs()).to_json()
    write_json(out / FILE, {"axes": axes.to_json(), "needs": wanted, "cells": [cell.to_json() for cell in cells]})


def read_values(out: Path) -> dict[str, Any]:
    """Axes and needs of the sweep in `out`, as they would stand in its file; raises `RecordError`."""
    found = _read(out)
    return {**found["axes"], **found["needs"]}


def check_resumes(out: Path, axes: Axes, cells: list[Cell]) -> None:
    """Raises `ConfigurationMismatch` unless `cells` are those of the sweep in `out` and perhaps more.

    A cell may have more iterations than before, and other needs.
    """
    earlier = _read(out)
    mine = {cell.name: cell for cell in cells}
    before = [Cell(**cell) for cell in earlier["cells"]]
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
        if (path := cell.directory(out) / "config.json").exists():
            check_same_run(cell, read_json(path))


def _read(out: Path) -> dict[str, Any]:
    found = read_json(out / FILE)
    if not isinstance(found, dict) or not {"axes", "needs", "cells"} <= set(found):
        raise RecordError(f"{out / FILE} is no specification of a sweep; choose another --out")
    return found


def _axis(values: Any) -> str:
    return "none" if values is None else shown(values)
