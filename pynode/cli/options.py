"""Options that several commands share, with their help; `pynode.cli.values` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import values
from pynode.cli.config_file import take_config

WHAT, HOW, WHERE = "What is trained", "How it is solved and differentiated", "Where and how long"

ProblemName = Annotated[
    str, typer.Argument(metavar="PROBLEM", help="Name of a problem; [b]list[/b] shows all.", show_default=False)
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="Gradient methods, separated by commas; [b]list[/b] shows all.",
        rich_help_panel=WHAT,
    ),
]
Seeds = Annotated[
    str,
    typer.Option(
        "--seed",
        "--seeds",
        metavar="N,...",
        help="Seeds of weights and batches, separated by commas: one run per method and seed.",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=values.LARGEST_SEED,
        metavar="N",
        help="Seed of the untrained weights (and of batches).",
        rich_help_panel=WHAT,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Training iterations of each run. [dim]Default: as in the study.[/dim]", rich_help_panel=WHAT
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        "--lr",
        help="Learning rate of Adam. [dim]Default: as in the study.[/dim]",
        rich_help_panel=WHAT,
    ),
]
Faithful = Annotated[
    bool,
    typer.Option(
        "--faithful",
        help="Reproduce the defects of the original study, for problems that have any.",
        rich_help_panel=WHAT,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set an option of the problem, such as batch=500; can be repeated. [b]list --options[/b] shows all.",
        rich_help_panel=WHAT,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        parser=values.path,
        metavar="FILE",
        help="The table to train on, for the problems csv and npy.",
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
At = Annotated[
    Path | None,
    typer.Option(
        parser=values.path,
        metavar="DIR",
        help="Use the best weights of the run in this directory. [dim]Default: untrained weights.[/dim]",
        rich_help_panel=WHAT,
    ),
]
Rtol = Annotated[
    float | None,
    typer.Option(
        callback=values.tolerance,
        help="Relative tolerance of adaptive solves, at most 1. [dim]Default: as in the study.[/dim]",
        rich_help_panel=HOW,
    ),
]
Atol = Annotated[
    float | None,
    typer.Option(
        help="Absolute tolerance of adaptive solves, in units of the state. [dim]Default: as in the study.[/dim]",
        rich_help_panel=HOW,
    ),
]
AdjointRtol = Annotated[
    float | None,
    typer.Option(
        callback=values.tolerance,
        help="Relative tolerance of the adjoint solve. [dim]Default: the value of --rtol.[/dim]",
        rich_help_panel=HOW,
    ),
]
AdjointAtol = Annotated[
    float | None,
    typer.Option(
        help="Absolute tolerance of the adjoint solve. [dim]Default: the value of --atol.[/dim]", rich_help_panel=HOW
    ),
]
Solver = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Adaptive solver: dopri5, tsit5, bosh3, dopri8, ...; with --backend julia tsit5, vern7 or auto. "
        "[dim]Default: dopri5 (Julia: tsit5).[/dim]",
        rich_help_panel=HOW,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        max=values.MOST_STEPS,
        metavar="N",
        help="Steps in each output interval, for fixed-step methods. [dim]Default: as in the study.[/dim]",
        rich_help_panel=HOW,
    ),
]
SchemeName = Annotated[
    str | None,
    typer.Option(
        "--scheme",
        metavar="NAME",
        help="Fixed-step scheme: euler, heun, midpoint, rk4, rk38, ... [dim]Default: as in the study.[/dim]",
        rich_help_panel=HOW,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="What disc-opt keeps for the backward pass: store (all stages), recompute (the state after each step) or "
        "checkpoint (a few states). [dim]Default: store.[/dim]",
        rich_help_panel=HOW,
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--memory-budget",
        "--budget",
        metavar="N",
        help="Number of states that --memory checkpoint keeps. [dim]Default: about the square root of twice the "
        "number of steps.[/dim]",
        rich_help_panel=HOW,
    ),
]
Adjoint = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How the adjoint is solved. opt-disc: backsolve or interpolating; opt-disc-fixed: explicit or "
        "backward-euler; opt-disc-julia: gauss, interpolating, quadrature or backsolve.",
        rich_help_panel=HOW,
    ),
]
Vjp = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Vector-Jacobian products of opt-disc-julia: handwritten, reversediff, zygote or enzyme. "
        "[dim]Default: handwritten.[/dim]",
        rich_help_panel=HOW,
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="eager (torch operators), fused (compiled kernels) or auto (fused where that is faster). "
        "[dim]Default: auto.[/dim]",
        rich_help_panel=HOW,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="torch or julia; julia runs disc-opt and opt-disc by Julia's SciML packages.",
        rich_help_panel=HOW,
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda or cuda:N.", rich_help_panel=WHERE)]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Floating point type: float64 or float32. [dim]Default: as in the study.[/dim]",
        rich_help_panel=WHERE,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        min=1,
        max=values.thread_limit(),
        metavar="N",
        help="CPU threads of torch; more than one pays for large networks only.",
        rich_help_panel=WHERE,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        parser=values.path,
        metavar="DIR",
        help="Directory for the results; it must be new or empty. [dim]Default: a new one under results/.[/dim]",
        rich_help_panel=WHERE,
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue an interrupted command from what it left in --out.", rich_help_panel=WHERE),
]
OnFailure = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="What to do when a solve fails or the loss is not finite: stop the run, skip the batch, or restore the "
        "best weights and continue with half the learning rate. [dim]Default: stop.[/dim]",
        rich_help_panel=WHERE,
    ),
]
RankTimeout = Annotated[
    float,
    typer.Option(
        callback=values.seconds,
        metavar="SECONDS",
        help="How long the processes that torchrun started wait for each other, in seconds.",
        rich_help_panel=WHERE,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        parser=values.path,
        metavar="FILE",
        help="TOML file with values of these options; the command line takes precedence.",
        rich_help_panel=WHERE,
        is_eager=True,
        callback=take_config,
    ),
]
RunDirectory = Annotated[
    Path,
    typer.Argument(
        parser=values.path,
        metavar="DIR",
        help="A directory with trained runs: the --out of compare, or one run inside its runs/.",
        show_default=False,
    ),
]
ResultsDirectory = Annotated[
    Path,
    typer.Argument(
        parser=values.path,
        metavar="DIR",
        help="A results directory: the --out of an earlier command.",
        show_default=False,
    ),
]
