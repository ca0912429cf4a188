"""`compare PROBLEM`: train by several methods on identical models, check their gradients, say which paid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli.output import output_directory
from pynode.errors import InvalidArgument, RunFailure, SolveError

if TYPE_CHECKING:
    from rich.console import Console

    from pynode.training.config import RunConfig


def default_run(context: typer.Context) -> None:
    """Train neural ODEs by Disc-Opt and by Opt-Disc on identical models, and see which way of differentiating pays.

    Without a command, compares both methods on the spiral and saves table and figures under results/.

    Examples:

      python experiments/run.py

      python experiments/run.py compare spiral --seeds 0,1,2 --rtol 1e-5 --out /tmp/three

      python experiments/run.py gradients spiral

      python experiments/run.py show results/spiral
    """
    if context.invoked_subcommand is None:
        run_comparison("spiral", methods="disc-opt,opt-disc", seeds="0", method_options={}, out=None)


def compare(
    problem: o.ProblemName,
    methods: o.Methods = "disc-opt,opt-disc",
    iterations: o.Iterations = None,
    seeds: o.Seeds = "0",
    learning_rate: o.LearningRate = None,
    faithful: o.Faithful = False,
    rtol: o.Rtol = None,
    atol: o.Atol = None,
    adjoint_rtol: o.AdjointRtol = None,
    adjoint_atol: o.AdjointAtol = None,
    solver: o.Solver = None,
    steps: o.Steps = None,
    scheme: o.SchemeName = None,
    memory: o.Memory = None,
    adjoint: o.Adjoint = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = "float64",
    out: o.Out = None,
    resume: o.Resume = False,
    checks: Annotated[
        bool, typer.Option(help="Also run Taylor tests and the gradient-error study.", rich_help_panel=o.WHAT)
    ] = True,
    validate_every: Annotated[
        int | None, typer.Option(help="Iterations between validations.", rich_help_panel=o.WHERE)
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(help="Iterations between checkpoints.", rich_help_panel=o.WHERE)
    ] = 50,
    config: o.Config = None,
) -> None:
    """Train a problem by several gradient methods and compare quality, time and evaluations.

    Examples:

      compare spiral

      compare spiral --methods disc-opt,opt-disc,opt-disc-fixed --steps 2 --iterations 100

      compare spiral --faithful --out results/as-published

      compare spiral --out results/spiral --resume
    """
    run_comparison(
        problem,
        methods=methods,
        seeds=seeds,
        method_options=o.given(
            rtol=rtol,
            atol=atol,
            adjoint_rtol=adjoint_rtol,
            adjoint_atol=adjoint_atol,
            solver=solver,
            steps=steps,
            scheme=scheme,
            memory=memory,
            adjoint=adjoint,
        ),
        out=out,
        resume=resume,
        checks=checks,
        iterations=iterations,
        learning_rate=learning_rate,
        faithful=faithful,
        device=device,
        dtype=dtype,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
    )


def run_comparison(
    problem: str,
    *,
    methods: str,
    seeds: str,
    method_options: dict[str, Any],
    out: Path | None,
    resume: bool = False,
    checks: bool = True,
    **settings: Any,
) -> None:
    """Trains, checks, renders, and prints what was found."""
    from rich.console import Console

    from pynode.problems import PROBLEMS

    PROBLEMS.summary(problem)  # an unknown name is told before the seconds that importing torch takes
    configs = plan(problem, o.names("--methods", methods), o.numbers("--seeds", seeds, int), method_options, **settings)
    directory = output_directory(out, problem, resume=resume)

    from pynode.cli.report import report

    console = Console()
    failures = train_all(configs, directory, resume=resume, console=console)
    if checks:
        from pynode.cli.gradients import check_errors
        from pynode.cli.taylor import check_taylor

        check_taylor(configs, directory, console)
        check_errors(configs[0], directory, console)
    report(directory, console, failures=failures)
    if failures:
        raise RunFailure(f"{len(failures)} of {len(configs)} runs failed: {'; '.join(failures)}")


def plan(
    problem: str,
    methods: list[str],
    seeds: list[int],
    method_options: dict[str, Any],
    *,
    iterations: int | None = None,
    learning_rate: float | None = None,
    faithful: bool = False,
    device: str = "cpu",
    dtype: str = "float64",
    validate_every: int | None = None,
    checkpoint_every: int = 50,
) -> list[RunConfig]:
    """One configuration per method and seed; every mistake in the options is found here."""
    from pynode.gradients import METHODS
    from pynode.problems import PROBLEMS
    from pynode.training.config import RunConfig, default_method

    kind = PROBLEMS.load(problem)
    study = kind.training
    known = {name: METHODS.load(name).option_names() for name in methods}
    for option, value in method_options.items():
        if not any(option in names for names in known.values()):
            raise InvalidArgument(
                f"--{option.replace('_', '-')}", value, f"no effect on {', '.join(methods)}", "drop it, or add a method"
            )
    chosen = [
        default_method(kind, name, **{k: v for k, v in method_options.items() if k in known[name]}) for name in methods
    ]
    return [
        RunConfig(
            problem=problem,
            method=method,
            seed=seed,
            iterations=study.iterations if iterations is None else iterations,
            learning_rate=study.learning_rate if learning_rate is None else learning_rate,
            weight_decay=study.weight_decay,
            dtype=dtype,
            device=device,
            faithful=faithful,
            validate_every=study.validate_every if validate_every is None else validate_every,
            checkpoint_every=checkpoint_every,
        )
        for method in chosen
        for seed in seeds
    ]


def train_all(configs: list[RunConfig], directory: Path, *, resume: bool, console: Console) -> list[str]:
    """Trains every configuration in `directory`/runs; a run that fails is recorded and the others go on."""
    from pynode.cli.progress import TrainingProgress
    from pynode.errors import NonFiniteLoss
    from pynode.records.results import RUNS
    from pynode.training.trainer import train

    failures = []
    with TrainingProgress(console) as progress:
        for config in configs:
            progress.begin(config.label, config.iterations)
            try:
                train(config, directory / RUNS / config.label, resume=resume, listener=progress.advance)
            except (NonFiniteLoss, SolveError) as error:
                failures.append(str(error))
    return failures
