"""Samples of a trained flow in the units and with the names of its table, for conditions that are given or drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pynode.datasets.reading import as_texts
from pynode.errors import InvalidArgument
from pynode.flows.flow import Flow
from pynode.methods.base import GradientMethod
from pynode.problems.density.base import Density
from pynode.problems.density.tables import Table


@dataclass(frozen=True)
class Samples:
    """`rows` `(n, dim)` in the units of the data, the `cells` of each column of the condition, and what to say of
    these."""

    rows: npt.NDArray[np.float64]
    cells: tuple[list[str], ...] = ()
    described: str = ""


def drawn(
    problem: Density, model: Flow, n: int, condition: Mapping[str, str], *, seed: int, method: GradientMethod
) -> Samples:
    """`n` samples for a `condition`, or where it is empty for those of training rows that `seed` draws.

    Raises `InvalidArgument` for a condition that the flow does not have, or that is incomplete.
    """
    conditions = problem.splits.conditions if isinstance(problem, Table) else None
    if conditions is None or not isinstance(problem, Table):
        if condition:
            raise InvalidArgument("condition", ", ".join(condition), "this flow has no condition", "leave it out")
        return Samples(problem.in_raw_units(model.sample(n, seed=seed, method=method)))
    if condition:
        contexts = np.repeat(conditions.one("condition", condition), n, axis=0)
        described = "given " + ", ".join(f"{name} = {value}" for name, value in condition.items())
    else:
        training = problem.splits.contexts["train"]
        contexts = training[np.random.default_rng(seed).integers(len(training), size=n)]
        described = f"given {', '.join(conditions.keys)} of training rows, drawn at random"
    context = torch.as_tensor(np.array(contexts), dtype=problem.dtype, device=problem.device)
    rows = problem.in_raw_units(model.sample(n, context, seed=seed, method=method))
    return Samples(rows, tuple(conditions.decode(contexts)), described)


def table_text(problem: Density, samples: Samples) -> str:
    """The samples as a .csv text: columns in the order of the file, with its header where it has one."""
    values = [list(as_texts(column)) for column in samples.rows.T]
    splits = problem.splits if isinstance(problem, Table) else None
    numbers, names = list(range(1, len(values) + 1)), [""] * len(values)
    if splits is not None and splits.columns is not None:
        numbers, names = list(splits.columns.numbers), list(splits.columns.names)
    if splits is not None and splits.conditions is not None:
        columns = splits.conditions.columns
        numbers += [column.number for column in columns]
        names += ["" if column.name == str(column.number) else column.name for column in columns]
        values += list(samples.cells)
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if any(names):
        writer.writerow([names[k] or str(numbers[k]) for k in order])
    writer.writerows(zip(*(values[k] for k in order), strict=True))
    return text.getvalue()
