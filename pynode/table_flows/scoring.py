"""Log-likelihood of the rows of another file under a flow that was trained on a user's table, in the file's units."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pynode.datasets.errors import DataError
from pynode.datasets.reading import Reading, TableFile, as_text
from pynode.datasets.splits import Array
from pynode.datasets.tables import read_table, table_kind, without_notices
from pynode.errors import InvalidArgument, SolveError
from pynode.flows.divergence import Exact
from pynode.flows.flow import ACCURATE, Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.problems.density.base import rows_at_once
from pynode.problems.density.user_tables import UserTable

_log = logging.getLogger("pynode")

DRAWS = 8
"""Draws of the noise that fills the steps of dequantised columns, over which a row's density is averaged."""

ON_GRID = 1e-6
"""Distance from a step of a dequantised column, in steps, that rounding explains."""


@dataclass(frozen=True)
class NewRows:
    """Rows of a file for a flow: `table` as read, `rows` `(n, dim)` in the file's units, `context` `(n, k)` or None.

    `ignored` names the columns of the file that the flow knows nothing of.
    """

    table: TableFile
    rows: Array
    context: Array | None
    ignored: tuple[str, ...]

    @property
    def groups(self) -> dict[str, Array]:
        """Which rows `(n,)`, bool, have each word of the first column of words in the condition; empty without one."""
        words = next((np.array(column.cells) for column in self.table.held if column.values is None), None)
        return {} if words is None else {str(word): words == word for word in np.unique(words)}


def new_rows(problem: UserTable, path: Path, reading: Reading) -> NewRows:
    """The rows of `path` for the flow of `problem`, its columns found by their names, or their numbers without names.

    `reading` says what the file does not: header, decimal mark, missing values; for a text, header and decimal mark are
    else those that the training was told.  Raises `DataError` for a column that is missing, a class that was not in the
    training rows, missing cells, and values between the steps of a dequantised column.
    """
    splits = problem.splits
    columns, conditions = splits.columns, splits.conditions
    assert columns is not None
    values = tuple(columns.name(c) for c in range(len(columns.names)))
    given = () if conditions is None else tuple(c.name for c in conditions.columns)
    classes = tuple(c.name for c in conditions.columns if c.classes) if conditions is not None else ()
    header, decimal = reading.header, reading.decimal
    if table_kind(path) == "text":  # what the training file did not say, one like it does not say either
        header = problem.options.header if header is None else header
        if decimal is None and (decimal := problem.options.decimal) is not None:
            told = "%s: '%s' is taken as the decimal mark, as for training (decimal=%s for the other one)"
            _log.warning(told, path, decimal, "," if decimal == "." else ".")
    table = read_table(path, Reading(header, "keep", decimal, reading.missing, (), given, classes, values))
    if not any(columns.names):
        _check_width(path, problem, table)
    order = [table.columns.needed(path, [name])[0] for name in values]
    used = {table.columns.numbers[c] for c in order} | {table.every.numbers[c] for c in table.every.find("", given)}
    ignored = [c for c, number in enumerate(table.every.numbers) if number not in used]
    context = None
    if conditions is not None:
        context = conditions.encode(table.held, lambda row: f"{path}, {table.place(row)}")
    rows = _on_steps(path, problem, table, table.rows[:, order])
    return NewRows(table, rows, context, tuple(table.every.name(c) for c in ignored))


def log_likelihoods(
    problem: UserTable, model: Flow, new: NewRows, *, method: GradientMethod = ACCURATE, seed: int = 0
) -> Array:
    """log p `(n,)` in nats of the rows in the units of their file, by an accurate solve with the exact trace.

    NaN for a row whose solve fails.  Where columns are dequantised, it is the logarithm of the density averaged over
    the step of each row, by `DRAWS` draws of the noise, the same ones for every row: a row's value does not depend on
    the other rows (but for the steps of an adaptive solve, within its tolerances).
    """
    splits = problem.splits
    context = None if new.context is None else _tensor(problem, new.context)
    if splits.units is None or not splits.units.any():
        rows = _tensor(problem, splits.standardised(new.rows))
        return _log_prob(model, rows, context, method) + splits.log_density_offset
    each = []
    for part in step_parts(seed, new.rows.shape[1]):
        noisy = new.rows + splits.units * part
        each.append(_log_prob(model, _tensor(problem, splits.standardised(noisy)), context, method))
    return np.logaddexp.reduce(each, axis=0) - np.log(DRAWS) + splits.log_density_offset


def step_parts(seed: int, dim: int) -> Array:
    """`DRAWS` points in the steps of `dim` columns `(draws, dim)`, in units of a step.

    One point in each of equal parts of a step (a Latin hypercube), which averages better than independent ones.
    """
    generator = np.random.default_rng(seed)
    parts = generator.permuted(np.broadcast_to(np.arange(DRAWS)[:, None], (DRAWS, dim)), axis=0)
    return np.asarray((parts + generator.random((DRAWS, dim))) / DRAWS)


def _on_steps(path: Path, problem: UserTable, table: TableFile, rows: Array) -> Array:
    """`rows` `(n, dim)`, those of dequantised columns on the steps that the training rows have."""
    units, origins = problem.splits.units, problem.splits.origins
    if units is None or origins is None:
        return rows
    rows = np.array(rows)
    for column in np.flatnonzero(units):
        steps = (rows[:, column] - origins[column]) / units[column]
        off = np.flatnonzero(np.abs(steps - np.round(steps)) > ON_GRID * np.maximum(1.0, np.abs(steps)))
        if off.size:
            row = int(off[0])
            name = problem.splits.columns.label(int(column)) if problem.splits.columns else f"column {column + 1}"
            raise DataError(
                f"{path}, {table.place(row)}, {name}: {as_text(float(rows[row, column]))} lies between the steps of "
                f"{units[column]:.6g} that the training rows have; round it, or train without dequantise"
            )
        rows[:, column] = origins[column] + np.round(steps) * units[column]
    return rows


def _check_width(path: Path, problem: UserTable, table: TableFile) -> None:
    """Without names columns are known by their places alone: a file of another width is another table."""
    with without_notices():
        trained = read_table(Path(str(problem.options.data)), problem.options.reading())
    width, expected = len(table.every.names), len(trained.every.names)
    if width != expected:
        raise DataError(
            f"{path} has {width} columns, the training table {expected}, and no names: give a table of the same columns"
        )


def _tensor(problem: UserTable, values: Array) -> Tensor:
    return torch.as_tensor(np.array(values), dtype=problem.dtype, device=problem.device)


@torch.no_grad()
def _log_prob(model: Flow, rows: Tensor, context: Tensor | None, method: GradientMethod) -> Array:
    """log p `(n,)`, float64, NaN where a solve fails for this row alone."""
    size = rows_at_once(model)
    values = np.full(len(rows), np.nan)
    parts = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    while parts:
        part = parts.pop()
        given = None if context is None else context[part]
        try:
            log_prob = model.log_prob(rows[part], given, method=method, divergence=Exact(), draw=Draw())
            values[part] = log_prob.double().cpu().numpy()
        except SolveError:  # one row can stop the solve of all
            middle = (part.start + part.stop) // 2
            if part.stop - part.start > 1:
                parts += [slice(part.start, middle), slice(middle, part.stop)]
    values[~np.isfinite(values)] = np.nan
    return values


def check_user_table(problem: object, directory: Path) -> UserTable:
    """`problem` if it is a user's table; raises `InvalidArgument` for the `directory` of any other run."""
    if not isinstance(problem, UserTable):
        raise InvalidArgument("DIR", directory, "no flow on a table of your own", "train one: density --data FILE")
    return problem
