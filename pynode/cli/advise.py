"""`advise PROBLEM`: which setting of which method pays on a problem, measured on the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import note_environment, output_directory
from pynode.cli.planning import problem_options
from pynode.cli.training_line import training_line
from pynode.errors import InvalidArgument, UsageError
from pynode.problems import PROBLEMS
from pynode.settings.known import compared
from pynode.studies.advice.budget import BUDGET
from pynode.training.plan import plan

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.studies.advice.subject import Subject
    from pynode.training.config import RunConfig


def advise(
    context: typer.Context,
    problem: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROBLEM]",
            help="Name of a problem, or FILE.py:NAME of your own; may be left out with --data, for a table.",
            show_default=False,
            callback=values.members(PROBLEMS),
        ),
    ] = None,
    at: Annotated[
        list[Path] | None,
        typer.Option(
            parser=values.path,
            metavar="DIR",
            help="Measure at the best weights of the run in this directory as well, with its problem's options and "
            "seed; can be repeated.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            callback=values.seconds,
            metavar="SECONDS",
            help="How long to measure; compiling kernels for the first time comes on top.",
            rich_help_panel=o.WHERE,
        ),
    ] = BUDGET,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1_000_000,
            metavar="N",
            help="Iterations of the rehearsal, a short training to weights where costs are those of training, and of "
            "the trials of settings; 0 for none. [dim]Default: those of the study, or what the budget allows.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    seed: o.Seed = 0,
    settings: o.Set = None,
    data: o.Data = None,
    threads: o.Threads = 1,
    out: o.Out = None,
    config: o.Config = None,
) -> None:
    """Recommend a gradient method with its settings, from measurements on the model itself.

    Gradient error and cost of both methods are measured over steps, schemes, tolerances, adjoints, memory modes and
    engines: at the untrained weights, after a short rehearsal of the training, and at those of --at. What is dominated
    is discarded. One setting is recommended for each goal, with how sure that is and the line to paste, and with
    warnings about stiffness, drift, and steps too coarse for the fit.

    Examples:

      advise spiral

      advise 8gaussians --budget 120

      advise --data measurements.parquet

      advise series --data patients.csv --set time=hours --set id=patient

      advise spiral --at results/spiral/runs/disc-opt-rk4-x1-seed0

      advise my_problem.py:MyProblem --set width=64
    """
    name = _name(problem, data)
    posed = problem_options(name, settings, data)
    if at:
        posed, seed = _as_trained(context, at, name, posed, seed)
    run = plan(name, compared()[:1], [seed], {}, problem_options=posed, available=False)[0]

    import torch

    from pynode.cli.console import new_console
    from pynode.cli.results import print_results
    from pynode.studies.advice.advise import advise_on
    from pynode.training.machine import environment

    torch.set_num_threads(threads)
    subject = _subject(run, training_line(name, posed, seed), at or [], budget, iterations)
    directory = output_directory(out, f"{name}-advice", resume=False, problem=name)
    console = new_console()
    made = environment()
    with console.status(f"advice on {name}") as status:
        advice = advise_on(subject, budget=budget, progress=lambda text: status.update(text), environment=made)
    advice.save(directory)
    note_environment(directory, made)
    print_results(directory, console, whole=False)
    _print_lines(directory, console)


def _name(problem: str | None, data: Path | None) -> str:
    if problem is not None:
        return problem
    if data is None:
        raise UsageError(
            "PROBLEM is missing: name one, such as spiral (see list), or give a table by --data FILE (a time series: "
            "advise series --data FILE)"
        )
    return "table"


def _as_trained(
    context: typer.Context, at: list[Path], problem: str, posed: dict[str, Any], seed: int
) -> tuple[dict[str, Any], int]:
    """Options of the problem and the seed: those of the first run in `at` but for what was given."""
    from pynode.training.restore import check_trained, config_of

    for folder in at:
        check_trained("--at", folder, problem)
    first = config_of(at[0])
    for folder in at[1:]:
        theirs = config_of(folder).options
        for name in sorted({*first.options, *theirs} - {*posed}):
            mine, other = first.options.get(name), theirs.get(name)
            if mine != other:
                problem = f"trained with {name} = {_shown(other)}, but {at[0]} with {_shown(mine)}"
                raise InvalidArgument(
                    "--at", folder, problem, f"ask for advice on each alone, or give --set {name}=VALUE"
                )
    source = context.get_parameter_source("seed")
    given = source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
    return {**first.options, **posed}, seed if given else first.seed


def _shown(value: object) -> str:
    return "its default" if value is None else str(value)


def _subject(run: RunConfig, line: str, at: list[Path], budget: float, iterations: int | None) -> Subject:
    """The problem of `run`, in float64 and as it is trained, with the weights of the runs in `at`."""
    from pynode.studies.advice.problems import problem_subject
    from pynode.training.data import check_same_rows
    from pynode.training.restore import config_of
    from pynode.training.weights import best_theta

    exact, actual = replace(run, dtype="float64").make_problem(), run.make_problem()
    trained = {}
    for folder in at:
        theirs = config_of(folder)
        check_same_rows(theirs.label, theirs.data, exact.data_record())
        label = folder.resolve().name
        trained[label if label not in trained else str(folder)] = best_theta(folder, run.problem).double().cpu()
    wanted = exact.model(run.seed).theta().numel()
    for label, theta in trained.items():
        if theta.numel() != wanted:
            problem = f"its model has {theta.numel():,} weights, not {wanted:,}"
            raise InvalidArgument("--at", label, problem, "give the options that it was trained with")
    return problem_subject(
        exact,
        actual,
        budget=budget,
        seed=run.seed,
        iterations=run.iterations if iterations is None else iterations,
        learning_rate=run.learning_rate,
        trained=trained,
        config={"line": line, "budget": budget, "seed": run.seed, "options": dict(run.options)},
    )


def _print_lines(directory: Path, console: PlainConsole) -> None:
    """What to paste, in lines that nothing wraps or styles."""
    from pynode.studies.advice.study import lines_to_paste
    from pynode.studies.results import load_results

    for goal, line in lines_to_paste(load_results(directory)):
        console.say(f"\n{goal}:\n  {line}")
