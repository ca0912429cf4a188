"""`compare PROBLEM`: trains identical models by several gradient methods and compares them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, with_options
from pynode.cli.output import candidates, output_directory
from pynode.cli.planning import problem_options, train_all
from pynode.cli.ranks import check_alone, on_one_footing, ranks, shared_directory
from pynode.errors import InvalidArgument, RunFailure
from pynode.settings.known import compared, on_backend
from pynode.training.plan import plan
from pynode.wording import counted

RANK_TIMEOUT = 600.0
"""Seconds: longer than any rank validates while others wait."""

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.studies.render import RenderedResults
    from pynode.training.schedules import Multilevel


def _say_version(asked: bool) -> None:
    if asked:
        import pynode
        from pynode.cli.console import new_console

        new_console().say(f"pynode {pynode.__version__}")
        raise typer.Exit


def default_run(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of pynode.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Train neural ODEs by Disc-Opt and by Opt-Disc on identical models, and compare the two ways to differentiate.

    Without a command, compares both methods on the spiral and saves tables and figures under results/.

    Examples:

      python experiments/run.py

      python experiments/run.py compare spiral --seeds 0,1,2 --rtol 1e-5 --out results/three

      python experiments/run.py gradients spiral

      python experiments/run.py show results/spiral
    """
    if context.invoked_subcommand not in (None, "compare"):
        check_alone()
    if context.invoked_subcommand is None:
        run_comparison("spiral", Given(), methods=compared(), seeds=[0], out=None)


@with_options()
def compare(
    problem: o.ProblemName,
    given: Given,
    methods: o.Methods = o.COMPARED,
    seeds: o.Seeds = "0",
    settings: o.Set = None,
    data: o.Data = None,
    multilevel: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Also train disc-opt with coarse steps first: the steps per output interval of each level, e.g. "
            "2,5,10.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    refine_at: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="With --multilevel: the iterations at which levels end. [dim]Default: when the validation loss stops "
            "falling.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    refine_patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="With --multilevel: validations without improvement that end a level. [dim]Default: 3.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    backend: o.Backend = "torch",
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
    checks: Annotated[
        bool,
        typer.Option(help="Also run Taylor tests and measure the errors of the gradients.", rich_help_panel=o.WHAT),
    ] = True,
    explain: o.Explain = False,
    rank_timeout: o.RankTimeout = RANK_TIMEOUT,
    config: o.Config = None,
) -> None:
    """Train one problem by several gradient methods and compare loss, time and evaluations.

    Under torchrun the processes share every batch:

    torchrun --standalone --nproc-per-node 2 experiments/run.py compare ...

    Examples:

      compare spiral

      compare spiral --methods disc-opt,opt-disc,opt-disc-fixed --steps 2 --iterations 100

      compare spiral --faithful --out results/as-published

      compare spiral --out results/spiral --resume

      compare spiral --engine eager

      compare spiral --backend julia --adjoint gauss

      compare 8gaussians --multilevel 2,5,10 --set kinetic=0.01

      compare npy --data table.npy --set hidden=128,128 --set batch=500
    """
    run_comparison(
        problem,
        given,
        problem_options=problem_options(problem, settings, data),
        multilevel=_levels(multilevel, refine_at, refine_patience),
        methods=values.names("--methods", methods),
        seeds=values.numbers("--seeds", seeds, int),
        threads=threads,
        backend=backend,
        out=out,
        resume=resume,
        checks=checks,
        explain=explain,
        rank_timeout=rank_timeout,
    )


def _levels(steps: str | None, refine_at: str | None, patience: int | None) -> Multilevel | None:
    """The levels of `--multilevel`; raises `InvalidArgument` for options that would do nothing."""
    if steps is None:
        for option, value in (("--refine-at", refine_at), ("--refine-patience", patience)):
            if value is not None:
                raise InvalidArgument(option, value, "no effect without levels", "add --multilevel 2,5,10")
        return None
    if refine_at is not None and patience is not None:
        problem = "no effect beside --refine-at, which says when levels end"
        raise InvalidArgument("--refine-patience", patience, problem, "give one of them")
    from pynode.training.schedules import Multilevel

    at = None if refine_at is None else tuple(values.numbers("--refine-at", refine_at, int))
    return Multilevel(tuple(values.counts("--multilevel", steps)), at, 3 if patience is None else patience)


def run_comparison(
    problem: str,
    given: Given,
    *,
    methods: list[str],
    seeds: list[int],
    out: Path | None,
    resume: bool = False,
    checks: bool = True,
    explain: bool = False,
    threads: int = 1,
    console: PlainConsole | None = None,
    brief: bool = False,
    backend: str = "torch",
    rank_timeout: float = RANK_TIMEOUT,
    problem_options: dict[str, Any] | None = None,
    multilevel: Multilevel | None = None,
) -> RenderedResults | None:
    """Trains, checks gradients, renders, prints and returns the results; on `console` if given, in one line if `brief`.

    With `explain` it says which engine the runs would be on, and does no more.
    """
    chosen = on_backend(methods, backend)
    posed: dict[str, Any] = {"problem_options": problem_options, "multilevel": multilevel}
    configs = plan(problem, chosen, seeds, given.methods, **posed, **given.settings)
    if explain:
        from pynode.cli.explaining import explain_runs

        explain_runs(configs, threads)
        return None

    import torch

    from pynode.cli.console import new_console
    from pynode.records.lock import lock

    torch.set_num_threads(threads)
    with ExitStack() as held:
        world = held.enter_context(ranks(configs[0].device, rank_timeout))
        configs[0].make_problem(world).check_ranks()
        configs = on_one_footing(configs, world)
        directory, resume = shared_directory(
            world,
            lambda resume: output_directory(out, problem, resume=resume, problem=problem),
            lambda: candidates(out, problem),
            resume=resume,
        )
        console = (console if world.is_writer else None) or new_console(quiet=not world.is_writer)
        if world.is_writer:
            held.enter_context(lock(directory))
        failures = train_all(configs, directory, resume=resume, console=console, world=world)
        if not world.is_writer:
            return None
        if checks:
            from pynode.cli.checking import check_errors, check_taylor

            check_taylor(configs, directory, console)
            check_errors(configs[0], directory, console, backend=backend)

        from pynode.cli.results import print_results

        rendered = print_results(directory, console, failures=failures, brief=brief)
    if failures:
        raise RunFailure(f"{len(failures)} of {counted(len(configs), 'run')} failed: {'; '.join(failures)}")
    return rendered
