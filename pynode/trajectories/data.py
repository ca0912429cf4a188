"""Trajectories as a file gives them: times, observed values, inputs, covariates; in the units of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pynode.datasets.date_order import Order
from pynode.datasets.splits import Array
from pynode.trajectories.axis import TimeAxis

__all__ = ["Input", "InputKind", "TimeAxis", "Trajectories", "Trajectory"]

InputKind: TypeAlias = Literal["interpolated", "steps", "jumps"]
"""How an input goes on between its rows: along straight lines, constant until the next row, or 0 but for impulses."""


@dataclass(frozen=True)
class Input:
    """A known function of time of one trajectory: `values` `(k,)` at `times` `(k,)`, strictly increasing.

    For "jumps" the values are the sizes of impulses (doses) at these times; k may be 0.
    """

    times: Array
    values: Array


@dataclass(frozen=True)
class Trajectory:
    """One trajectory: `values` `(n, values)` at `times` `(n,)`, NaN where missing.

    `times` are strictly increasing, float64, in the file's own numbers (dates: seconds since 1970 UTC), of the rows
    with any observed value.  `inputs` are at their own rows, one for each input column.  `covariates`
    `(covariates,)`: words are columns of 0 and 1.  `lines` `(n,)`: where each row is in the file.  `identity`: the
    cells of the columns that name it, which `name` joins.
    """

    name: str
    times: Array
    values: Array
    inputs: tuple[Input, ...]
    covariates: Array
    lines: Array
    identity: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trajectories:
    """All trajectories of a file, with the names of their columns.

    `constants`: value columns that never change, which are carried on as they are and are not among `values`.
    `periods`: value columns that are angles, with their period.  `codes`: numbers that were seen to stand for missing
    values, by the column's name.  `time_columns`: the columns that times are from, as `read_series` takes them; none
    where rows are counted.  `date_order`: that of day, month and year in them, where the file left it open.
    """

    each: tuple[Trajectory, ...]
    axis: TimeAxis
    values: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    input_kinds: tuple[InputKind, ...] = ()
    covariates: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    path: Path | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    periods: Mapping[str, float] = field(default_factory=dict)
    codes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    id_columns: tuple[str, ...] = ()
    """The columns that name trajectories, as `read_series` takes them; none where one has no name."""
    time_columns: tuple[str, ...] = ()
    date_order: Order | None = None

    @property
    def id_column(self) -> str | None:
        """The columns that name trajectories, with commas between several."""
        return ",".join(self.id_columns) or None
