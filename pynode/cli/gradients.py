"""`gradients PROBLEM`: the error of each gradient when the solver is coarse, and what that costs in training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import output_directory
from pynode.errors import InvalidArgument, RunFailure

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod
    from pynode.training.config import RunConfig

TOLERANCES = ",".join(f"1e-{k}" for k in range(1, 11))
TRAINED_TOLERANCES = (1e-1, 1e-3, 1e-5, 1e-7, 1e-9)
TRAINED_STEPS = (1, 2, 4)


def gradients(
    context: typer.Context,
    problem: o.ProblemName,
    methods: o.Methods = "disc-opt,opt-disc,opt-disc-fixed,ad-adaptive",
    tolerances: Annotated[
        str,
        typer.Option(
            metavar="TOL,...",
            help="Relative tolerances of adaptive methods, separated by commas, at most 1; the absolute ones are a "
            "hundredth of these.",
            rich_help_panel=o.HOW,
        ),
    ] = TOLERANCES,
    steps: Annotated[
        str,
        typer.Option(
            metavar="N,...",
            help="Steps per output interval of fixed-step methods, separated by commas.",
            rich_help_panel=o.HOW,
        ),
    ] = "1,2,4,8",
    schemes: Annotated[
        str, typer.Option(metavar="NAME,...", help="Schemes of disc-opt, separated by commas.", rich_help_panel=o.HOW)
    ] = "euler,rk4",
    at: o.At = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="Also train at tolerances from 1e-1 to 1e-9 and with 1, 2 and 4 steps.",
            rich_help_panel=o.WHAT,
        ),
    ] = False,
    iterations: o.Iterations = None,
    seed: o.Seed = 0,
    settings: o.Set = None,
    data: o.Data = None,
    faithful: o.Faithful = False,
    engine: o.EngineName = None,
    backend: o.Backend = "torch",
    device: o.Device = "cpu",
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
    from pynode.cli.console import new_console
    from pynode.problems import PROBLEMS

    PROBLEMS.summary(problem)
    from pynode.cli.planning import on_backend
    from pynode.cli.problem_options import problem_options

    if not train:
        values.check_no_effect(context, "no effect without --train", "add --train, or drop it", "iterations")
    given = problem_options(problem, settings, data)
    chosen = on_backend(values.names("--methods", methods), backend)
    tols, counts = values.tolerances("--tolerances", tolerances), values.counts("--steps", steps)

    import torch

    from pynode.cli.checking import check_errors
    from pynode.cli.planning import plan, train_all
    from pynode.cli.report import report
    from pynode.engines.choice import check_engine
    from pynode.schemes import SCHEMES
    from pynode.studies.gradients.errors import study_grid

    first = plan(
        problem,
        chosen,
        [seed],
        values.given(engine=engine),
        iterations=iterations,
        faithful=faithful,
        device=device,
        problem_options=given,
    )[0]
    loaded = [SCHEMES.load(s) for s in values.names("--schemes", schemes)]
    grid = study_grid(tols, counts, loaded, backend=backend, engine=check_engine("auto" if engine is None else engine))
    grid = [m for m in grid if m.name in chosen]
    if not grid:
        raise InvalidArgument("--methods", methods, "none of them is in the study", "use --methods disc-opt,opt-disc")
    _check_used(context, grid)
    theta = _theta(at, problem) if at else None
    directory = output_directory(out, f"{problem}-gradients", resume=resume, problem=problem)
    torch.set_num_threads(threads)
    console = new_console()
    check_errors(first, directory, console, grid=grid, theta=theta)
    failures: list[str] = []
    if train:
        failures = train_all(_training_grid(first, chosen), directory, resume=resume, console=console)
    report(directory, console, failures=failures, whole=True)
    if failures:
        raise RunFailure(f"{len(failures)} runs failed: {'; '.join(failures)}")


def _check_used(context: typer.Context, grid: list[GradientMethod]) -> None:
    """Raises `InvalidArgument` where an option was given that none of the methods has."""
    names = ", ".join(dict.fromkeys(method.name for method in grid))
    remedy = "drop it, or add a method"
    if not any(method.adaptive for method in grid):
        values.check_no_effect(context, f"no effect on {names}", remedy, "tolerances")
    if all(method.adaptive for method in grid):
        values.check_no_effect(context, f"no effect on {names}", remedy, "steps")
    if not any(method.name.startswith("disc-opt") for method in grid):
        values.check_no_effect(context, f"no effect on {names}", remedy, "schemes")


def _training_grid(first: RunConfig, methods: list[str]) -> list[RunConfig]:
    """Runs of disc-opt over step counts and of opt-disc over tolerances, else as `first`."""
    from dataclasses import replace

    from pynode.methods import METHODS
    from pynode.training.config import STUDY

    grid: list[GradientMethod] = []
    for kind in map(METHODS.load, methods):
        name = kind.name.removesuffix("-julia")
        if name == "disc-opt":
            grid += [kind(steps=n) for n in TRAINED_STEPS]  # type: ignore[call-arg]
        if name == "opt-disc":
            settings = [{"rtol": tol, "atol": tol / 100, **STUDY.get(kind.name, {})} for tol in TRAINED_TOLERANCES]
            grid += [kind(**setting) for setting in settings]
    return [replace(first, method=method) for method in grid]


def _theta(directory: Path, problem: str) -> object:
    from pynode.training.checkpoint import best_theta

    return best_theta(directory, problem)
