"""`evaluate DIR`: trained flows under other schemes, step counts and tolerances than in training (RQ4)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.arguments import check_tolerance
from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import check_results
from pynode.cli.trained import UNFINISHED
from pynode.errors import EngineUnavailable, InvalidArgument, OutputDirectoryError, RunFailure, UsageError
from pynode.wording import counted

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.methods.base import GradientMethod
    from pynode.problems.density.base import Density
    from pynode.studies.invertibility.record import RediscretisationRecord
    from pynode.training.config import RunConfig

ALL = "all"
"""What `--samples` says for every test row, or for those that the option `test_rows` of a run leaves."""

HOW = {"training": "solved as in training", "evaluation": "solved by dopri5"}
"""How a likelihood was computed, by the use of its record."""

GRID_SAMPLES = 1000
"""Test rows of the grid of discretisations where nobody says how many."""


def evaluate(
    context: typer.Context,
    directory: o.RunDirectory,
    schemes: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="Fixed-step schemes, separated by commas.", rich_help_panel=o.SCHEME),
    ] = "euler,heun,rk38",
    steps: Annotated[
        str,
        typer.Option(
            metavar="N,...",
            help="Numbers of steps per block of the flow, separated by commas.",
            rich_help_panel=o.SCHEME,
        ),
    ] = "1,2,3,4,6,8,10,12,16,24,32",
    tolerances: Annotated[
        str,
        typer.Option(
            metavar="TOL,...",
            help="Tolerances of dopri5 in the grid (rtol = atol), separated by commas, at most 1.",
            rich_help_panel=o.SCHEME,
        ),
    ] = "1e-1,1e-2,1e-3,1e-4,1e-5,1e-6,1e-7",
    grid: Annotated[
        bool,
        typer.Option(
            help="Also measure the grid of --schemes, --steps and --tolerances, beside the training's own "
            "discretisation and dopri5 at --rtol and --atol.",
            rich_help_panel=o.SCHEME,
        ),
    ] = True,
    rtol: Annotated[
        float | None,
        typer.Option(
            callback=values.tolerance,
            metavar="TOL",
            help="Relative tolerance of the dopri5 that stands beside the training's own discretisation, at most 1. "
            "[dim]Default: that of the problem's Opt-Disc.[/dim]",
            rich_help_panel=o.SCHEME,
        ),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option(
            metavar="TOL",
            help="Absolute tolerance of that dopri5. [dim]Default: that of the problem's Opt-Disc.[/dim]",
            rich_help_panel=o.SCHEME,
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            help="A flow counts as invertible if going there and back moves samples by less than this on average, in "
            "units of the standardised data.",
            rich_help_panel=o.SCHEME,
        ),
    ] = 1e-3,
    samples: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help=f"Number of test samples to use, or all. [dim]Default: all, and {GRID_SAMPLES} for the grid.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    threads: o.ThreadsOfUse = 1,
) -> None:
    """Measure likelihood and inverse error of trained flows under other discretisations than in training (RQ4).

    Every flow is used with the discretisation of its training, and by dopri5 at --rtol and --atol (by default those of
    the problem's Opt-Disc, 1e-6 / 1e-8 for the study's tables); then with a grid of schemes, steps and tolerances.
    Where the engine of the training is not available, another one runs its discretisation, and a line says so. Runs
    that are not finished are skipped.
    Writes DIR/rediscretisation.jsonl, tables and figures. DIR is a results directory, one run in it, or a sweep.
    Records hold the engine, the commit and the load average of the machine.

    Examples:

      evaluate results/8gaussians

      evaluate results/8gaussians --schemes rk4,rk38 --steps 2,5,10,20 --bound 1e-4

      evaluate results/sweep --samples all --no-grid --rtol 1e-8 --atol 1e-10
    """
    from pynode.cli.console import new_console

    names, counts = values.names("--schemes", schemes), values.counts("--steps", steps)
    tols = values.tolerances("--tolerances", tolerances)
    rows = _rows(samples)
    if not 0 < bound < float("inf"):
        raise InvalidArgument("--bound", bound, "not a positive number", "use e.g. 1e-3")
    for option, value in (("--rtol", rtol), ("--atol", atol)):
        if value is not None:
            check_tolerance(option, value)
    if not grid:
        remedy = "drop it, or drop --no-grid"
        values.check_no_effect(context, "no effect with --no-grid", remedy, "schemes", "steps", "tolerances")

    import torch

    from pynode.cli.results import print_results
    from pynode.records.files import lines_if_any, write_lines
    from pynode.schemes import SCHEMES
    from pynode.studies.invertibility.record import RediscretisationRecord
    from pynode.studies.invertibility.rediscretisation import discretisations
    from pynode.studies.results import REDISCRETISED

    torch.set_num_threads(threads)
    methods = discretisations([SCHEMES.load(name) for name in names], counts, tols) if grid else []
    check_results(directory)
    every = [_plan(part) for part in _results_in(directory.resolve())]
    plans = [plan for plan in every if plan.folders]
    if not plans:
        raise InvalidArgument("DIR", directory, "no finished run there", UNFINISHED)
    earlier = [lines_if_any(plan.top / REDISCRETISED, RediscretisationRecord) for plan in plans]  # damage is told first
    console, made_by = new_console(), _commit()
    accuracy = values.given(rtol=rtol, atol=atol)
    for folder in (folder for plan in every for folder in plan.unfinished):
        console.say(f"skipped {folder}: the run is not finished; repeat its command with --resume")
    refused: list[str] = []
    for plan, before in zip(plans, earlier, strict=True):
        kept, records = before, list[RediscretisationRecord]()
        for folder in plan.folders:
            try:
                measured = _measured(folder, methods, accuracy, bound, rows, console)
            except EngineUnavailable as error:
                refused.append(f"{folder}: {error}")
                continue
            records += [replace(r, **made_by) for r in measured]
            kept = [r for r in kept if r.run != folder.name or (r.use == "other" and not grid)]
            write_lines(plan.top / REDISCRETISED, [*kept, *records])  # so that a later failure takes none of these
        if records:
            print_results(plan.top, console, whole=True)
    if refused:
        raise RunFailure(f"{counted(len(refused), 'run')} can't be evaluated here: {'; '.join(refused)}")


@dataclass(frozen=True)
class _Plan:
    """The finished runs that are to be evaluated, the results directory that they are in, and its other runs."""

    top: Path
    folders: list[Path]
    unfinished: list[Path]


def _measured(
    folder: Path,
    methods: list[GradientMethod],
    accuracy: dict[str, Any],
    bound: float,
    rows: int | str | None,
    console: PlainConsole,
) -> list[RediscretisationRecord]:
    """The records of a run: as trained, by dopri5 (at the tolerances in `accuracy`, else the problem's), and with each
    of `methods`."""
    from pynode.datasets.tables import without_notices
    from pynode.problems.density.base import Density
    from pynode.records.runs import load_run
    from pynode.studies.invertibility.rediscretisation import TrainedFlow, evaluate_training, rediscretise
    from pynode.training.restore import restore

    with without_notices():
        config, problem, model = restore(folder)
    assert isinstance(problem, Density)
    test, evaluation = problem.test_samples(), _evaluation(type(problem), accuracy)
    first = rows if isinstance(rows, int) else None
    some = None if rows == ALL else rows if isinstance(rows, int) else GRID_SAMPLES
    name, trained_by = folder.name, load_run(folder).method
    context = problem.test_context()
    trained = TrainedFlow(model, config.problem, name, trained_by, _trained_with(config), config.seed, context)
    with console.status(f"evaluating {name}") as status:
        try:
            records = list(evaluate_training(trained, test[:first], evaluation, bound=bound))
        except EngineUnavailable as error:
            trained = replace(trained, method=_on_any_engine(trained.method, error))
            console.say(f"{name}: its solves run on another engine than in training: {error}")
            records = list(evaluate_training(trained, test[:first], evaluation, bound=bound))
        for record in rediscretise(trained, test[:some], methods, bound=bound):
            records.append(record)
            status.update(f"evaluating {name}: {record.scheme} {record.setting:g}")
    _say_in_units(name, problem, records, console)
    return records


def _say_in_units(name: str, problem: Density, records: list[RediscretisationRecord], console: PlainConsole) -> None:
    """Says likelihoods in the units of the user's table, where the flow was trained on one."""
    from pynode.problems.density.user_tables import UserTable

    if not isinstance(problem, UserTable):
        return
    told = [
        f"{record.nll - problem.splits.log_density_offset:.4f} {HOW[record.use]}"
        for record in records
        if record.use in HOW and record.nll is not None
    ]
    rows = counted(records[0].samples, "test row")
    console.say(f"{name}: NLL of {rows} in the units of {problem.options.data}: {', '.join(told)}")


def _on_any_engine(method: GradientMethod, refused: EngineUnavailable) -> GradientMethod:
    """The same solve on an engine that is chosen here; raises `refused` where only the method's own knows it."""
    from pynode.engines.choice import AUTO
    from pynode.methods.base import method as method_of

    recipe = method.recipe
    try:
        if "engine" in method.option_names():
            return method.on_engine(AUTO)
        return method_of(recipe.scheme, recipe.steps, recipe.gradient)
    except UsageError:
        raise refused from None


def _rows(samples: str | None) -> int | str | None:
    """The number of `--samples`, "all", or None where it is not given."""
    if samples is None or samples == ALL:
        return samples
    rows = int(samples) if samples.isdecimal() and len(samples) < 9 else 0
    if rows < 2:
        raise InvalidArgument("--samples", samples, "neither a number from 2 to 99,999,999 nor all", "use e.g. 1000")
    return rows


def _trained_with(config: RunConfig) -> GradientMethod:
    """The discretisation at the end of the training: with levels, that of the last one."""
    method = config.running
    return method if config.multilevel is None else config.multilevel.method(method, -1)


def _commit() -> dict[str, Any]:
    """What records say of the checkout that pynode runs from; nothing outside of one."""
    from pynode.training.machine import environment

    git = environment()["git"]
    return {} if git is None else {"commit": git["commit"], "changed": git["changed"]}


def _evaluation(kind: type, accuracy: dict[str, Any]) -> GradientMethod:
    """dopri5 at the tolerances in `accuracy` (rtol, atol), else at those that Opt-Disc has for this problem, as the
    study's evaluation command has it."""
    from pynode.flows.flow import ACCURATE
    from pynode.methods.opt_disc import OptDisc
    from pynode.training.config import default_method

    of_study = default_method(kind, OptDisc.name)
    assert isinstance(of_study, OptDisc)
    usual = OptDisc(rtol=of_study.rtol, atol=of_study.atol, max_steps=ACCURATE.max_steps)
    return replace(usual, **accuracy)


def _results_in(directory: Path) -> list[Path]:
    """`directory`, or where it holds a sweep or a suite the results directories of flows in it."""
    from pynode.records.runs import RUNS, run_folders

    if (directory / "config.json").exists() or run_folders(directory):
        return [directory]
    parts = sorted(path.parent for path in directory.glob(f"*/{RUNS}"))
    return [part for part in parts if (runs := run_folders(part)) and _is_density(runs[0])] or [directory]


def _plan(directory: Path) -> _Plan:
    """The runs in `directory`; raises an error where they are no flows, or nothing can be written."""
    from pynode.records.runs import RUNS, load_run
    from pynode.training.restore import runs_in

    every = runs_in(directory)
    finished = [folder for folder in every if load_run(folder).finished]
    alone = (directory / "config.json").exists()
    if alone and directory.parent.name != RUNS:
        raise InvalidArgument("DIR", directory, f"a run outside of a folder {RUNS}", "give a results directory")
    top = directory.parent.parent if alone else directory
    if finished:
        if not _is_density(finished[0]):
            raise InvalidArgument("DIR", directory, "no flow was trained there", "evaluate runs of a density problem")
        _check_writable(top)
    return _Plan(top, finished, [folder for folder in every if folder not in finished])


def _check_writable(directory: Path) -> None:
    """Raises `OutputDirectoryError` before the work where its result could not be written."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputDirectoryError(
            f"{directory} can only be read, and what is measured is kept there; copy it to a directory of your own and "
            "evaluate the copy"
        )


def _is_density(folder: Path) -> bool:
    from pynode.problems import PROBLEMS
    from pynode.problems.density.base import Density
    from pynode.records.run_files import read_config
    from pynode.training.origins import recall_members

    config = read_config(folder)
    recall_members(config)  # the problem may be one of the user's own
    return issubclass(PROBLEMS.load(config["problem"]), Density)
