"""A sweep's own file, sweep.json: which cells it has and where they run, so that a resumed sweep is the same one or a
larger one."""

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
KEYS = ("axes", "needs", "running", "cells")
TOLD = 3
"""Names of missing cells that an error gives at most."""


def write_sweep(
    out: Path, axes: Axes, cells: list[Cell], needs: Needs | None = None, running: Mapping[str, Any] | None = None
) -> None:
    """Writes the specification of a sweep that is about to run in `out`, `running` on what executor and how."""
    wanted = (needs or Needs()).to_json()
    values = (axes.to_json(), wanted, dict(running or {}), [cell.to_json() for cell in cells])
    write_json(out / FILE, dict(zip(KEYS, values, strict=True)))


def read_values(out: Path) -> dict[str, Any]:
    """Axes, needs and executor of the sweep in `out`, as they would stand in its file; raises `RecordError`."""
    found = _read(out)
    return {**found["axes"], **found["needs"], **found["running"]}


def read_running(out: Path) -> dict[str, Any]:
    """On what executor the sweep in `out` ran last, and how; raises `RecordError`."""
    return dict(_read(out)["running"])


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
        if not (path := cell.directory(out) / "config.json").exists():
            continue
        try:
            earlier = read_json(path)
        except RecordError:  # damaged: the run has a copy in its checkpoint, and says so
            continue
        check_same_run(cell, earlier)


def _read(out: Path) -> dict[str, Any]:
    found = read_json(out / FILE)
    if not isinstance(found, dict) or not {"axes", "needs", "cells"} <= set(found):
        raise RecordError(f"{out / FILE} is no specification of a sweep; choose another --out")
    if unknown := sorted(set(found) - set(KEYS)):
        raise RecordError(
            f"{out / FILE} has {', '.join(unknown)}, which this version of pynode does not know; resume the sweep with "
            "the version that began it, or choose another --out"
        )
    found.setdefault("running", {})
    for key in KEYS:
        wanted, called = (list, "list") if key == "cells" else (dict, "table")
        if not isinstance(found[key], wanted):
            raise RecordError(f"{out / FILE} is damaged: {key} is no {called}; restore it, or choose another --out")
    _cells(out, found["cells"])
    return found


def _cells(out: Path, found: list[Any]) -> list[Cell]:
    try:
        return [Cell.from_json(cell) for cell in found]
    except RecordError as error:
        raise RecordError(f"{out / FILE} can't be used: {error}; restore it, or choose another --out") from error


def _axis(values: Any) -> str:
    return "none" if values is None else shown(values)
