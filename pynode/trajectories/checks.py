"""What is checked of a prepared series before its training, and what is said of rows that it can make little of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pynode.errors import InvalidArgument
from pynode.trajectories.build import Prepared
from pynode.trajectories.data import InputKind, Trajectory
from pynode.trajectories.grid import known_until
from pynode.trajectories.parts import Parts
from pynode.trajectories.windows import has_window
from pynode.wording import counted

LISTED = 4
"""Names of trajectories in a sentence."""


def check_trainable(prepared: Prepared, parts: Parts) -> None:
    """Raises `InvalidArgument` where no trajectory has two rows to train on, and where an input ends before a row that
    is held out, which could then not be forecast."""
    if len(without_window(prepared)) == sum(mask.any() for mask in prepared.masks):
        path = "data" if prepared.series.path is None else prepared.series.path
        remedy = "give a file with more rows, or name the column that tells trajectories apart (id=COLUMN)"
        raise InvalidArgument("data", path, "no trajectory has two rows to train on", remedy)
    series = prepared.series
    for each, known in zip(series.each, parts.known, strict=True):
        held_out = each.times[~known]
        limit, which = known_until(each, series.input_kinds)
        if len(held_out) and held_out[-1] > limit + 1e-9 * max(1.0, abs(limit)):
            name, of = series.inputs[which], f" of {each.name}" if len(series.each) > 1 else ""
            raise InvalidArgument(
                "inputs",
                name,
                f"{name}{of} is known to {series.axis.text(limit)} only, rows that are held out go on to "
                f"{series.axis.text(float(held_out[-1]))}",
                f"add rows with {name} up to then, or train without held-out rows (held_out=0)",
            )


def without_window(prepared: Prepared) -> list[int]:
    """The trajectories, by their numbers, of which rows are trained on, but not two, so that none can be fitted."""
    masks = enumerate(prepared.masks)
    return [k for k, mask in masks if mask.any() and not has_window(prepared.grids[k], prepared.node_mask(k, mask))]


def notices(prepared: Prepared) -> list[str]:
    """Sentences about trajectories that take no part, about inputs that are taken as constant where none is known, and
    about covariates that are unlike those of training."""
    series = prepared.series
    lines = []
    if alone := without_window(prepared):
        names = _listed([series.each[k].name for k in alone])
        lines.append(
            f"{counted(len(alone), 'trajectory', 'trajectories')} of one row ({names}): not fitted, and left out of "
            "the errors"
        )
    for k, name in enumerate(series.inputs):
        kind = series.input_kinds[k]
        flat = [each.name for each in series.each if _is_extended(each, k, kind)]
        if flat:
            where = f" of {_listed(flat)}" if len(series.each) > 1 else ""
            lines.append(f"rows{where} lie where no {name} is given: the nearest value is taken there")
        empty = [each.name for each in series.each if kind != "jumps" and not each.inputs[k].times.size]
        if empty:
            lines.append(f"no {name} is given for {_listed(empty)}: the mean of the others is taken")
    return [*lines, *beyond_training(prepared, series.each)]


def beyond_training(prepared: Prepared, trajectories: Sequence[Trajectory]) -> list[str]:
    """Sentences about covariates of `trajectories` that no trajectory of training has: numbers beyond those of
    training, which are taken as the nearest of these, and classes, which are left out."""
    names, (low, high) = prepared.series.covariates, prepared.scaling.covariate_ranges
    lines = []
    for k, name in enumerate(names):
        values = [float(each.covariates[k]) for each in trajectories]
        out = [n for n, value in enumerate(values) if not low[k] <= value <= high[k]]
        if not out:
            continue
        who = _listed([trajectories[n].name for n in out])
        if "=" in name:
            if not high[k]:
                lines.append(f"no trajectory of training has {name}: forecasts of {who} take no account of it")
            continue
        given = [values[n] for n in out]
        told = f"{given[0]:.6g}" if len(set(given)) == 1 else f"{min(given):.6g} to {max(given):.6g}"
        known = f"{low[k]:.6g}" if low[k] == high[k] else f"{low[k]:.6g} to {high[k]:.6g}"
        lines.append(f"{name} of {who} is {told}, in training {known}: the nearest of these is taken")
    return lines


def _is_extended(each: Trajectory, k: int, kind: InputKind) -> bool:
    """Whether a row lies before the first value of the input, or, of an interpolated one, after the last."""
    at = each.inputs[k].times
    if kind == "jumps" or not at.size:
        return False
    after = kind == "interpolated" and bool(np.any(each.times > at[-1]))
    return after or bool(np.any(each.times < at[0]))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
