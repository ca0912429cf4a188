"""`gradients PROBLEM`: the error of each gradient when the solver is coarse, and what that costs in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, with_options
from pynode.cli.output import note_environment, output_directory
from pynode.cli.planning import problem_options
from pynode.errors import InvalidArgument, RunFailure
from pynode.schemes import SCHEMES
from pynode.settings.known import compared, method_options, on_backend, on_engine, stands_for
from pynode.training.plan import check_available, plan
from pynode.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from pynode.methods.base import GradientMethod
    from pynode.training.config import RunConfig

TOLERANCES = ",".join(f"1e-{k}" for k in range(1, 11))
TRAINED_TOLERANCES = (1e-1, 1e-3, 1e-5, 1e-7, 1e-9)
TRAINED_STEPS = (1, 2, 4)


@with_options(varied={"rtol": "--tolerances", "atol": "--tolerances", "scheme": "--schemes"})
def gradients(
    context: typer.Context,
    problem: o.ProblemName,
    given: Given,
    methods: o.Methods = o.PLAIN,
    tolerances: o.Tolerances = TOLERANCES,
    steps: o.StepCounts = "1,2,4,8",
    schemes: o.Schemes = "euler,rk4",
    at: Annotated[
        list[Path] | None,
        typer.Option(
            parser=values.path,
            metavar="DIR",
            help="Use the best weights of the run in this directory, with its problem's options and seed; can be "
            "repeated, and then the first run's seed counts for all. [dim]Default: untrained weights.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained",
            help="With --at: measure at the untrained weights as well.",
            rich_help_panel=o.WHAT,
        ),
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000_000,
            metavar="N",
            help="Rows of the batch that a flow's gradients are taken on. [dim]Default: 32.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Also train at tolerances from 1e-1 to 1e-9 and with 1, 2 and 4 steps.",
            rich_help_panel=o.WHAT,
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Also measure gradients in float32 with matrix products in these precisions (full, tf32, bf16), "
            "separated by commas, against float64; for methods with fixed steps.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    seed: o.Seed = 0,
    settings: o.Set = None,
    data: o.Data = None,
    backend: o.Backend = "torch",
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
    config: o.Config = None,
) -> None:
    """Measure the relative error of each gradient over tolerances and step counts, with its cost (RQ2).

    Errors are relative to the gradient of the continuous problem and, for fixed steps, to that of the loss as it is
    computed. Opt-Disc is measured with both adjoints unless --adjoint names one. All is computed in float64, also at
    weights that were trained in float32.

    A gradient is timed five times or more, after a first one that is not counted; where the times scatter by more than
    20 % they are taken again. Records hold engine, scatter and the load average of the machine.

    Examples:

      gradients spiral

      gradients spiral --at results/spiral/runs/disc-opt-rk4-x1-seed0 --tolerances 1e-2,1e-4,1e-6

      gradients power --at results/power/runs/disc-opt-rk4-x10-seed0 --untrained --samples 32

      gradients spiral --train --iterations 300

      gradients spiral --backend julia

      gradients miniboone --methods disc-opt --precision tf32,bf16 --device cuda
    """
    if not train:
        given.check_posed("no effect without --train", "add --train, or drop it")
    if untrained and not at:
        raise InvalidArgument("--untrained", True, "no effect without --at", "drop it: the weights are untrained")
    posed = problem_options(problem, settings, data)
    if at:
        posed, seed = _as_trained(context, at, problem, posed, seed)
    chosen = on_backend(values.names("--methods", methods), backend)
    tols, counts = values.tolerances("--tolerances", tolerances), values.counts("--steps", steps)
    listed = values.names("--schemes", schemes)
    for name in listed:
        SCHEMES.check(name)
    planned = plan(problem, chosen, [seed], given.methods, problem_options=posed, available=False, **given.settings)
    first = planned[0]
    _check_measured(first, at or [], samples)
    precisions = _precisions(precision, first.device)

    import torch

    from pynode.cli.checking import check_errors, check_precisions
    from pynode.cli.console import new_console
    from pynode.cli.planning import train_all
    from pynode.cli.results import print_results
    from pynode.studies.gradients.errors import study_grid
    from pynode.studies.gradients.timing import CAREFUL
    from pynode.training.machine import environment

    every = study_grid(
        tols,
        counts,
        [SCHEMES.load(name) for name in listed],
        backend=backend,
        adjoints=("backsolve", "interpolating"),
    )
    grid = list(dict.fromkeys(replace(m, **on_engine(m.name, given.methods)) for m in every if m.name in chosen))
    if not grid:
        raise InvalidArgument("--methods", methods, "none of them is in the study", f"use --methods {o.COMPARED}")
    _check_used(context, grid)
    weights = _weights(at or [], problem, untrained=untrained)
    check_available(run.method for run in planned)
    directory = output_directory(out, f"{problem}-gradients", resume=resume, problem=problem)
    torch.set_num_threads(threads)
    console = new_console()
    made = environment(backend=backend)
    check_errors(first, directory, console, grid=grid, weights=weights, samples=samples, repeats=CAREFUL)
    if precisions:
        check_precisions(first, precisions, directory, console, grid=grid, weights=weights, samples=samples)
    note_environment(directory, made)  # not before there are records: what holds none is to be usable again
    failures: list[str] = []
    if train:
        failures = train_all(_training_grid(first, chosen, given), directory, resume=resume, console=console)
    print_results(directory, console, failures=failures, whole=True)
    if failures:
        raise RunFailure(f"{counted(len(failures), 'run')} failed: {'; '.join(failures)}")


def _precisions(text: str | None, device: str) -> list[str]:
    """The precisions that are asked for, float32 in full before them; raises where `device` has none of them."""
    from pynode.precision import FULL, check_precision

    if text is None:
        return []
    names = values.names("--precision", text)
    for name in names:
        check_precision(name, device)
    return list(dict.fromkeys((FULL, *names)))


def _check_used(context: typer.Context, grid: list[GradientMethod]) -> None:
    """Raises `InvalidArgument` where an option was given that none of the methods has."""
    from pynode.gradients import Discrete

    names = ", ".join(dict.fromkeys(method.name for method in grid))
    remedy = "drop it, or add a method"
    if not any(method.adaptive for method in grid):
        values.check_no_effect(context, f"no effect on {names}", remedy, "tolerances")
    if all(method.adaptive for method in grid):
        values.check_no_effect(context, f"no effect on {names}", remedy, "steps")
    if not any(isinstance(method.recipe.gradient, Discrete) for method in grid):
        values.check_no_effect(context, f"no effect on {names}", remedy, "schemes")


def _training_grid(first: RunConfig, methods: list[str], given: Given) -> list[RunConfig]:
    """Runs of the methods that are compared: over step counts, or over tolerances; else as `first`."""
    from pynode.methods.base import method_from_json
    from pynode.problems import PROBLEMS
    from pynode.training.config import study_options

    kind = PROBLEMS.load(first.problem)
    grid: list[RunConfig] = []
    for name in methods:
        if stands_for().get(name, name) not in compared():
            continue
        accuracies: list[dict[str, Any]] = [{"steps": n} for n in TRAINED_STEPS]
        if "rtol" in method_options(name):
            accuracies = [{"rtol": tol, "atol": tol / 100} for tol in TRAINED_TOLERANCES]
        usual = {"method": name, **study_options(kind, name), **on_engine(name, given.methods)}
        grid += [replace(first, method=method_from_json({**usual, **accuracy})) for accuracy in accuracies]
    return grid


def _as_trained(
    context: typer.Context, at: list[Path], problem: str, posed: dict[str, Any], seed: int
) -> tuple[dict[str, Any], int]:
    """Options of the problem and the seed: those of the runs in `at` but for what was given.

    Raises `InvalidArgument` where there is no run of the problem, and where the runs had different options: their
    weights do not belong to one problem.
    """
    from pynode.training.restore import check_trained, config_of

    for folder in at:
        check_trained("--at", folder, problem)
    configs = [config_of(folder) for folder in at]
    first = {name: value for name, value in configs[0].options.items() if name != "batch"}
    for folder, config in zip(at[1:], configs[1:], strict=True):
        theirs = {name: value for name, value in config.options.items() if name != "batch"}
        if theirs != first:
            raise InvalidArgument("--at", folder, f"trained with other options than {at[0]}", "measure it by itself")
    posed = {**configs[0].options, **posed}
    source = context.get_parameter_source("seed")
    given = source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
    return posed, seed if given else configs[0].seed


def _check_measured(first: RunConfig, at: list[Path], samples: int | None) -> None:
    """Raises an error where a run in `at` was trained on other rows than `first` has, or with other defects of the
    study, and where there are not so many `samples`."""
    from pynode.cli.checking import check_samples
    from pynode.training.data import check_same_rows
    from pynode.training.restore import config_of

    measured = first.make_problem()
    check_samples(measured, samples)
    for folder, config in ((folder, config_of(folder)) for folder in at):
        if config.faithful != first.faithful:
            problem, remedy = ("with", "add it") if config.faithful else ("without", "drop it")
            raise InvalidArgument("--at", folder, f"trained {problem} --faithful", remedy)
        check_same_rows(config.label, config.data, measured.data_record())


def _weights(at: list[Path], problem: str, *, untrained: bool) -> dict[str, Tensor | None]:
    """The weights to measure at by name: of the runs in `at`, and the untrained ones (None) if asked for."""
    from pynode.studies.gradients.record import UNTRAINED
    from pynode.training.weights import best_theta

    weights: dict[str, Tensor | None] = {UNTRAINED: None} if untrained or not at else {}
    for folder in at:
        name = folder.resolve().name
        if name in weights:  # of another results directory
            name = str(folder)
        weights[name] = best_theta(folder, problem)
    return weights
