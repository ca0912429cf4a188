"""New trajectories for a trained model: their columns in the model's order, or a refusal that says what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pynode.errors import InvalidArgument
from pynode.trajectories.data import Trajectories, Trajectory


def aligned(series: Trajectories, new: Trajectories, argument: str = "data") -> tuple[Trajectory, ...]:
    """The trajectories of `new` with values, inputs and covariates in the order of `series`, which a model knows.

    A value column that happens not to change in `new` is a column of its one value.  Classes of a covariate in words
    that `new` lacks are 0.  Raises `InvalidArgument`, for the value of `argument`, where columns are missing, where a
    class is unknown, where a constant of `series` has another value, and where times, inputs or angles are
    of another kind.
    """
    path = new.path if new.path is not None else Path("data")
    if (series.axis.kind, series.axis.seconds) != (new.axis.kind, new.axis.seconds):
        raise InvalidArgument(
            argument, path, f"its times are {new.axis.unit}, those of the model {series.axis.unit}", "give them alike"
        )
    for name, value in series.constants.items():
        if name in new.values or (name in new.constants and new.constants[name] != value):
            here = f"{new.constants[name]:.15g}" if name in new.constants else "no constant"
            raise InvalidArgument(
                argument,
                path,
                f"{name} is {here} there, and {value:.15g} in all that the model has seen",
                "train on data in which it changes",
            )
    if missing := [name for name in series.values if name not in new.values and name not in new.constants]:
        raise InvalidArgument(argument, path, f"no column {missing[0]}", f"it needs {', '.join(series.values)}")
    if missing := [name for name in series.inputs if name not in new.inputs]:
        raise InvalidArgument(argument, path, f"no input {missing[0]}", f"it needs {', '.join(series.inputs)}")
    kinds = dict(zip(new.inputs, new.input_kinds, strict=True))
    for name, kind in zip(series.inputs, series.input_kinds, strict=True):
        if kinds[name] != kind:
            problem = f"its input {name} is {kinds[name]}, that of the model {kind}"
            raise InvalidArgument(argument, path, problem, "read it with read_series(like=...)")
    for name in series.values:
        mine, theirs = series.periods.get(name), new.periods.get(name)
        if name in new.values and mine != theirs:
            problem = f"its {name} is {_angle(theirs)}, that of the model {_angle(mine)}"
            raise InvalidArgument(argument, path, problem, "read it with read_series(like=...)")
    known = ", ".join(series.covariates) or "no covariates"
    for each in new.each:
        unknown = [name for name in _named(series, new, each) if name not in series.covariates]
        if unknown:
            raise InvalidArgument(argument, path, f"{unknown[0]} is unknown to the model", f"it knows {known}")
    return tuple(_aligned(series, new, each) for each in new.each)


def _angle(period: float | None) -> str:
    return f"an angle of period {period:.6g}" if period else "no angle"


def _aligned(series: Trajectories, new: Trajectories, each: Trajectory) -> Trajectory:
    values = [
        each.values[:, new.values.index(name)] if name in new.values else np.full(len(each.times), new.constants[name])
        for name in series.values
    ]
    return replace(
        each,
        values=np.stack(values, axis=1) if values else each.values,
        inputs=tuple(each.inputs[new.inputs.index(name)] for name in series.inputs),
        covariates=np.array([_named(series, new, each).get(name, 0.0) for name in series.covariates], dtype=np.float64),
    )


def _named(series: Trajectories, new: Trajectories, each: Trajectory) -> dict[str, float]:
    """The covariates of a new trajectory by name; a number that stands for a class of the model is that class."""
    named: dict[str, float] = {}
    for name, value in zip(new.covariates, each.covariates.tolist(), strict=True):
        is_class = name not in series.covariates and any(known.startswith(f"{name}=") for known in series.covariates)
        named |= {f"{name}={value:g}": 1.0} if is_class else {name: value}
    return named
