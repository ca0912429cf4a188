"""`julia`: installs the Julia backend, and shows its state."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, with_options
from pynode.cli.pages import App
from pynode.problems import PROBLEMS
from pynode.settings.known import compared, method_options, on_backend, stands_for
from pynode.settings.values import check_value
from pynode.training.plan import check_available, plan

julia = App(help="Install the Julia backend, and show its state.", no_args_is_help=True)


@julia.command("setup")
def setup() -> None:
    """Install and compile the Julia packages and start the worker once; the first time this takes some minutes.

    Uses the environment variables PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT if both are set, else the Julia of
    this machine and pynode's own project: a clone, or a folder of yours where pynode was installed from a wheel. Needs
    no network if everything has been downloaded before.
    """
    from pynode.cli.console import new_console
    from pynode.julia.setup import set_up

    console = new_console()
    versions = set_up(lambda line: console.say(line))
    _print_versions(console, versions)


@julia.command("status")
def status(
    start: Annotated[bool, typer.Option("--start", help="Also start the worker and print its versions.")] = False,
) -> None:
    """Show which parts of the Julia backend are installed and which are missing."""
    from rich.table import Table

    from pynode.cli.console import new_console
    from pynode.errors import PynodeError
    from pynode.julia import environment

    console = new_console()
    installation = environment.find()
    problems = environment.missing(installation)
    table = Table(show_header=False, box=None)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in environment.rows(installation):
        table.add_row(name, value)
    console.print(table)
    for problem in problems:
        console.say(f"problem: {problem}")
    if problems:
        console.say(f"Julia can't be used yet; {environment.remedy(installation)}")
        return
    console.say("Julia can be used; a REPL with the package PyNODE:")
    console.say(f"  {installation.repl}")
    if start:
        from pynode.julia.setup import start as start_worker

        try:
            _print_versions(console, start_worker(lambda line: console.say(line)))
        except PynodeError as error:  # reported as part of the status: the command itself has worked
            console.say(f"but its worker does not start: {error}")


@julia.command("train")
@with_options(only=("iterations", "learning_rate", "rtol", "atol", "steps"))
def train(
    given: Given,
    problem: Annotated[
        str,
        typer.Argument(
            metavar="[PROBLEM]",
            help="A time series problem, such as spiral, or FILE.py:NAME of your own.",
            callback=values.members(PROBLEMS),
        ),
    ] = "spiral",
    adjoints: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="Adjoints of Opt-Disc, separated by commas.", rich_help_panel=o.GRADIENT),
    ] = "gauss,interpolating,quadrature,backsolve",
    seed: o.Seed = 0,
) -> None:
    """Train a time series by both methods entirely inside Julia, and print what an iteration costs.

    The loop in Julia knows one loss, the sum of squares over all data, and Adam at one learning rate. A problem of your
    own with another loss, masked data, or a model whose weights are computed is refused: train it by compare --backend
    julia.

    Examples:

      julia train

      julia train spiral --iterations 100 --adjoints gauss --rtol 1e-5

      julia train my_series.py:MySeries
    """
    from rich.table import Table

    from pynode.cli.console import new_console

    discrete, continuous = on_backend(compared(), "julia")
    listed = values.names("--adjoints", adjoints)
    for adjoint in listed:
        check_value("--adjoints", adjoint, method_options(continuous)["adjoint"].kind)
    kinds = [(discrete, given.of(discrete))]
    kinds += [(continuous, {"adjoint": adjoint, **given.of(continuous)}) for adjoint in listed]
    runs = [plan(problem, [name], [seed], options, available=False, **given.settings)[0] for name, options in kinds]

    from pynode.training.in_julia import julia_loop, train_in_julia

    loops = [julia_loop(run) for run in runs]
    check_available(run.method for run in runs)
    console = new_console()
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{problem}, trained inside Julia: ms and evaluations per iteration, best loss",
        title_justify="left",
    )
    table.add_column("method", no_wrap=True)
    for column in ("ms", "forward", "back", "NFE", "evals", "compile", "loss"):
        table.add_column(column, justify="right", no_wrap=True)
    for run, loop in zip(runs, loops, strict=True):
        with console.status(run.method.label):
            trained = train_in_julia(loop)
        seconds = (trained.seconds, trained.seconds_forward, trained.seconds_backward)
        cost = (f"{trained.nfe:.0f}", f"{trained.evaluations:.0f}", f"{trained.warmup_seconds:.1f} s")
        words = run.method.family.split()  # name, adjoint, solver: the last is the same in every row
        name = " ".join((stands_for().get(run.method.name, run.method.name), *words[1:2]))
        table.add_row(name, *(f"{1000 * s:.3f}" for s in seconds), *cost, f"{min(trained.losses):.3g}")
    console.print(table)


def _print_versions(console: Any, versions: dict[str, Any]) -> None:
    for name, number in versions.items():
        console.say(f"  {name} {number}")
