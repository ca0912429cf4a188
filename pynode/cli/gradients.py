"""`gradients PROBLEM`: the error of each gradient when the solver is coarse, and what that costs in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, with_options
from pynode.cli.output import output_directory
from pynode.cli.planning import problem_options
from pynode.errors import InvalidArgument, RunFailure
from pynode.schemes import SCHEMES
from pynode.settings.known import compared, method_options, on_backend, on_engine, stands_for
from pynode.training.plan import plan

if TYPE_CHECKING:
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
    at: o.At = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Also train at tolerances from 1e-1 to 1e-9 and with 1, 2 and 4 steps.",
            rich_help_panel=o.WHAT,
        ),
    ] = False,
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

    Examples:

      gradients spiral

      gradients spiral --at results/spiral/runs/disc-opt-rk4-x1-seed0 --tolerances 1e-2,1e-4,1e-6

      gradients spiral --train --iterations 300

      gradients spiral --backend julia
    """
    if not train:
        given.check_posed("no effect without --train", "add --train, or drop it")
    posed = problem_options(problem, settings, data)
    chosen = on_backend(values.names("--methods", methods), backend)
    tols, counts = values.tolerances("--tolerances", tolerances), values.counts("--steps", steps)
    listed = values.names("--schemes", schemes)
    for name in listed:
        SCHEMES.check(name)
    first = plan(problem, chosen, [seed], given.methods, problem_options=posed, **given.settings)[0]

    import torch

    from pynode.cli.checking import check_errors
    from pynode.cli.console import new_console
    from pynode.cli.planning import train_all
    from pynode.cli.report import report
    from pynode.studies.gradients.errors import study_grid

    every = study_grid(tols, counts, [SCHEMES.load(name) for name in listed], backend=backend)
    grid = list(dict.fromkeys(replace(m, **on_engine(m.name, given.methods)) for m in every if m.name in chosen))
    if not grid:
        raise InvalidArgument("--methods", methods, "none of them is in the study", f"use --methods {o.COMPARED}")
    _check_used(context, grid)
    theta = _theta(at, problem) if at else None
    directory = output_directory(out, f"{problem}-gradients", resume=resume, problem=problem)
    torch.set_num_threads(threads)
    console = new_console()
    check_errors(first, directory, console, grid=grid, theta=theta)
    failures: list[str] = []
    if train:
        failures = train_all(_training_grid(first, chosen, given), directory, resume=resume, console=console)
    report(directory, console, failures=failures, whole=True)
    if failures:
        raise RunFailure(f"{len(failures)} runs failed: {'; '.join(failures)}")


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
    from pynode.training.config import STUDY

    grid: list[RunConfig] = []
    for name in methods:
        if stands_for().get(name, name) not in compared():
            continue
        accuracies: list[dict[str, Any]] = [{"steps": n} for n in TRAINED_STEPS]
        if "rtol" in method_options(name):
            accuracies = [{"rtol": tol, "atol": tol / 100} for tol in TRAINED_TOLERANCES]
        usual = {"method": name, **STUDY.get(name, {}), **on_engine(name, given.methods)}
        grid += [replace(first, method=method_from_json({**usual, **accuracy})) for accuracy in accuracies]
    return grid


def _theta(directory: Path, problem: str) -> object:
    from pynode.training.checkpoint import best_theta

    return best_theta(directory, problem)
