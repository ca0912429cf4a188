"""`predict DIR`: forecasts of a trained series as a table in the manner of its file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import check_results, check_target
from pynode.cli.trained import UNFINISHED
from pynode.errors import InvalidArgument, UnknownName, UsageError
from pynode.methods import METHODS
from pynode.wording import counted

if TYPE_CHECKING:
    from pynode.problems.series.user_series import UserSeries
    from pynode.records.runs import Run
    from pynode.trajectories.data import Trajectory

ERRORS = (("forecast_error", "held-out error"), ("fit_error", "error of the fit"))
"""By what a run is chosen: keys of its summary, and what they are called."""


LISTED = 12
"""Names of trajectories in a line."""

UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
"""Seconds of the units of `--every`."""


def predict(
    directory: o.RunDirectory,
    until: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Time to forecast to, in the units of the file; or a date.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(parser=values.path, metavar="FILE", help="New .csv file for the forecast.", show_default=False),
    ],
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time between rows, in the units of the file (of dates: 30s, 15min, 6h, 1d). "
            "[dim]Default: as far as the rows of the file usually are apart.[/dim]",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Gradient method whose run is taken. [dim]Default: that with the least error on held-out rows.[/dim]",
            show_default=False,
            callback=values.members(METHODS),
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="LABEL", help="A run in DIR/runs, by its name.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="FILE",
            help="Forecast the trajectories of this file, of the same columns, each from its own observations. "
            "[dim]Default: those that the model was trained on.[/dim]",
            show_default=False,
        ),
    ] = None,
    overwrite: o.Overwrite = False,
    threads: o.ThreadsOfUse = 1,
) -> None:
    """Forecast every trajectory of a trained series beyond its last row, in the file's own columns, times and units.

    DIR is the --out of series, or one run inside its runs/. A row for each time after the last one up to --until, which
    is included. Forecasts beyond known inputs are refused.

    Examples:

      predict results/series --until 2016-04-01 --out forecast.csv

      predict results/patients --until 24 --every 0.5 --method disc-opt --out forecast.csv

      predict results/patients --until 24 --data new.csv --out new-forecast.csv
    """
    if method is not None and run is not None:
        raise InvalidArgument("--method", method, "no effect beside --run, which names the run", "give one of them")
    if method is not None and method not in METHODS.names():
        raise UnknownName("gradient method", method, METHODS.names())
    if directory.is_dir():
        check_target(out, overwrite=overwrite)

    import torch

    from pynode.cli.console import new_console
    from pynode.problems.series.user_series import UserSeries
    from pynode.records.files import write_atomically, write_new
    from pynode.training.restore import restore
    from pynode.trajectories.ahead import times_ahead
    from pynode.trajectories.checks import beyond_training
    from pynode.trajectories.table import Rows, as_csv, value_columns

    torch.set_num_threads(threads)
    console = new_console()
    folder, said = _chosen(directory, method, run)
    _, problem, model = restore(folder, last=True)
    if not isinstance(problem, UserSeries):
        raise InvalidArgument("DIR", directory, "no series was trained there", "give the --out of the command series")
    series = problem.series
    trajectories, id_columns = (series.each, series.id_columns) if data is None else _read(problem, data)
    with _until_is("--until"):
        times = times_ahead(
            series.axis, trajectories, series.axis.parse(until), _spacing(problem, every), series.input_kinds
        )
        ahead = [(each, at) for each, at in zip(trajectories, times, strict=True) if len(at)]
        values_ahead = problem.forecasts(model, [each for each, _ in ahead], [at for _, at in ahead])
        rows = [Rows(each.name, at, own, each.identity) for (each, at), own in zip(ahead, values_ahead, strict=True)]
    content = as_csv(
        rows,
        value_columns(series, problem.prepared.scaling),
        series.axis,
        id_columns=id_columns,
    )
    (write_atomically if overwrite else write_new)(out, content)
    if said:
        console.say(said)
    for line in beyond_training(problem.prepared, trajectories):
        console.say(line)
    if ended := [each.name for each, at in zip(trajectories, times, strict=True) if not len(at)]:
        names = f"{', '.join(ended[:LISTED])}{' and others' if len(ended) > LISTED else ''}"
        console.say(f"no rows for {names}: observed beyond --until")
    count = sum(len(own.times) for own in rows)
    of = f" of {counted(len(rows), 'trajectory', 'trajectories')}" if id_columns else ""
    last = series.axis.text(max(float(own.times[-1]) for own in rows))
    console.say(f"{counted(count, 'row')}{of} by {folder.name}, up to {last}, in {out}")


@contextmanager
def _until_is(option: str) -> Iterator[None]:
    """Names the option in an error about a time."""
    try:
        yield
    except InvalidArgument as error:
        if error.argument not in ("time", "until"):
            raise
        raise UsageError(f"{option}{str(error).removeprefix(error.argument)}") from error


def _chosen(directory: Path, method: str | None, label: str | None) -> tuple[Path, str]:
    """The run to take, and what is to be said of the choice: the finished one with the least error."""
    from pynode.records.runs import load_run
    from pynode.training.restore import runs_in

    check_results(directory)
    runs = {folder: load_run(folder) for folder in runs_in(directory)}
    if label is not None:
        wanted = [folder for folder in runs if folder.name == label]
        if not wanted:
            raise UnknownName("run", label, sorted(folder.name for folder in runs))
        runs = {wanted[0]: runs[wanted[0]]}
    if method is not None:
        METHODS.check(method)
        runs = {folder: run for folder, run in runs.items() if run.method == method}
        if not runs:
            raise InvalidArgument("--method", method, f"no run in {directory} is of this method", "name another one")
    done = {folder: run for folder, run in runs.items() if run.finished}
    if not done:
        raise InvalidArgument("DIR", directory, "no finished run there", UNFINISHED)
    key, name = next(
        ((k, n) for k, n in ERRORS if any(_error(run, k) is not None for run in done.values())), ERRORS[-1]
    )
    errors = {folder: _error(run, key) for folder, run in done.items()}
    best = min(done, key=lambda folder: error if (error := errors[folder]) is not None else float("inf"))
    if len(done) == 1:
        return best, ""
    sizes = {folder.name: "not finite" if error is None else f"{error:.3g}" for folder, error in errors.items()}
    others = ", ".join(f"{label} {error}" for label, error in sizes.items() if label != best.name)
    return best, f"{best.name} has the least {name} of {len(done)} runs: {sizes[best.name]} ({others})"


def _error(run: Run, key: str) -> float | None:
    value = (run.summary or {}).get(key)
    return value if isinstance(value, (int, float)) else None


def _spacing(problem: UserSeries, every: str | None) -> float | None:
    """The value of `--every` in the numbers of the time axis; raises `InvalidArgument`."""
    if every is None:
        return None
    axis = problem.series.axis
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e[-+]?\d+)?)\s*([a-z]*)\s*", every.lower())
    value = float(match[1]) if match else 0.0
    if not match or not 0 < value < float("inf"):
        raise InvalidArgument("--every", every, "not a positive length of time", "use e.g. 0.5, or of dates 6h")
    if match[2] and match[2] not in UNITS:
        raise InvalidArgument("--every", every, f"unknown unit {match[2]}", f"use one of {', '.join(UNITS)}")
    if axis.kind == "date" and not match[2]:
        raise InvalidArgument("--every", every, "no unit, and the times are dates", "write e.g. 30s, 15min, 6h or 1d")
    if not match[2]:
        return value
    if axis.seconds is None:
        raise InvalidArgument("--every", every, f"the times are {axis.unit}, without a unit", "give a number alone")
    return value * UNITS[match[2]] / axis.seconds


def _read(problem: UserSeries, data: Path) -> tuple[tuple[Trajectory, ...], tuple[str, ...]]:
    """The trajectories of another file, read as that of the training was, and its columns that name them."""
    from pynode.trajectories.alike import aligned
    from pynode.trajectories.dosing import dose_column
    from pynode.trajectories.read import read_series

    series, options = problem.series, problem.options
    new = read_series(
        data,
        id=series.id_columns or None,
        values=(*series.values, *series.constants),
        inputs=options.inputs or tuple(dict.fromkeys(map(dose_column, series.inputs))),
        input_kind=options.input_kind,
        covariates=options.covariates or _columns_of(series.covariates) or ("none",),
        circular=options.circular,
        missing_values=options.missing_values,
        header=options.header,
        decimal=options.decimal,
        date_order=options.date_order,
        like=series,
    )
    return aligned(series, new), new.id_columns


def _columns_of(covariates: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that covariates come from; those of words are COLUMN=CLASS."""
    return tuple(dict.fromkeys(name.partition("=")[0] for name in covariates))
