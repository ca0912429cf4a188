"""`julia`: install what the Julia backend needs, and see what is there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pynode.cli import options as o

julia = typer.Typer(help="Install and look up the Julia backend.", no_args_is_help=True)


@julia.command("setup")
def setup() -> None:
    """Install the Julia packages, compile them, and start the worker once (some minutes the first time).

    Uses PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT where both are set, else the Julia of this machine and the
    project of this repository. Works without a network where everything is downloaded.
    """
    from rich.console import Console

    from pynode.julia.setup import set_up

    console = Console(soft_wrap=True)
    versions = set_up(lambda line: console.print(line, highlight=False, markup=False))
    _print_versions(console, versions)


@julia.command("status")
def status(
    start: Annotated[bool, typer.Option("--start", help="Also start the worker and ask it for versions.")] = False,
) -> None:
    """Show what of Julia is found and what is missing."""
    from rich.console import Console
    from rich.table import Table

    from pynode.errors import PynodeError
    from pynode.julia import environment

    console = Console(soft_wrap=True)
    found = environment.find()
    problems = environment.missing(found)
    table = Table(show_header=False, box=None)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in environment.rows(found):
        table.add_row(name, value)
    console.print(table)
    for problem in problems:
        console.print(f"missing: {problem}", highlight=False, markup=False)
    if problems:
        console.print(f"Julia can't be used yet; {environment.remedy(found)}", highlight=False, markup=False)
        return
    console.print("Julia can be used", highlight=False)
    if start:
        from pynode.julia.setup import start as start_worker

        try:
            _print_versions(console, start_worker(lambda line: console.print(line, highlight=False, markup=False)))
        except PynodeError as error:  # what the status is, is no failure of this command
            console.print(f"but its worker does not start: {error}", highlight=False, markup=False)


@julia.command("train")
def train(
    problem: Annotated[str, typer.Argument(help="A time series; see [b]list[/b].")] = "spiral",
    iterations: o.Iterations = None,
    learning_rate: o.LearningRate = None,
    adjoints: Annotated[
        str, typer.Option(help="Adjoints of Opt-Disc, comma separated.")
    ] = "gauss,interpolating,quadrature,backsolve",
    rtol: o.Rtol = None,
    atol: o.Atol = None,
    steps: o.Steps = None,
    seed: o.Seed = 0,
) -> None:
    """Train a time series by both methods wholly inside Julia, and say what an iteration costs there.

    Examples:

      julia train

      julia train spiral --iterations 100 --adjoints gauss --rtol 1e-5
    """
    from rich.console import Console
    from rich.table import Table

    from pynode.cli.planning import check_available, plan

    check_available(["disc-opt-julia"])
    from pynode.gradients.julia.base import JuliaMethod
    from pynode.training.in_julia import train_in_julia

    console = Console()
    tolerances = o.given(rtol=rtol, atol=atol)
    kinds: list[tuple[str, dict[str, Any]]] = [("disc-opt-julia", o.given(steps=steps))]
    kinds += [("opt-disc-julia", {"adjoint": a, **tolerances}) for a in o.names("--adjoints", adjoints)]
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{problem}, trained inside Julia: ms and evaluations per iteration, best loss",
        title_justify="left",
    )
    table.add_column("method", no_wrap=True)
    for column in ("ms", "forward", "back", "NFE", "evals", "compile", "loss"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, given in kinds:
        run = plan(problem, [name], [seed], given, iterations=iterations, learning_rate=learning_rate)[0]
        assert isinstance(run.method, JuliaMethod)
        with console.status(run.method.label):
            found = train_in_julia(
                run.make_problem(),
                run.method,
                iterations=run.iterations,
                learning_rate=run.learning_rate,
                seed=seed,
            )
        seconds = (found.seconds, found.seconds_forward, found.seconds_backward)
        cost = (f"{found.nfe:.0f}", f"{found.evaluations:.0f}", f"{found.warmup_seconds:.1f} s")
        words = run.method.family.replace("-julia", "").split()  # the solver goes without saying
        name = " ".join(words[:2])
        table.add_row(name, *(f"{1000 * s:.3f}" for s in seconds), *cost, f"{min(found.losses):.3g}")
    console.print(table)


def _print_versions(console: Any, versions: dict[str, Any]) -> None:
    for name, number in versions.items():
        console.print(f"  {name} {number}", highlight=False, markup=False)
