"""Options that several commands share beside those of methods and runs, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pynode.cli import values
from pynode.cli.config_file import take_config
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.settings.known import compared, plain_methods

WHAT, WHERE = "What is trained", "Training: where and how long"
COLUMNS, MODEL = "Your file and its columns", "Model and held-out part"
SCHEME, GRADIENT, ENGINE = "Scheme and steps", "Gradient", "Engine"
AXES = {"scheme": SCHEME, "gradient": GRADIENT, "engine": ENGINE}
"""Panels of the options of methods, by the axis that they belong to."""
PANELS = (WHAT, SCHEME, GRADIENT, ENGINE, WHERE)
"""The panels of `--help` that commands which train share, in order."""

ORDER = (COLUMNS, MODEL, *PANELS)
"""All panels in order."""


def column(*names: str, text: str, metavar: str = "COLUMN,...") -> Any:
    """An option that says what a column of the user's file is."""
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=COLUMNS, show_default=False)


COMPARED, PLAIN = ",".join(compared()), ",".join(plain_methods())
"""Methods where none are named: those that training compares, and all that are checked."""

ProblemName = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM",
        help="Name of a problem, or FILE.py:NAME of your own; [b]list[/b] shows all.",
        show_default=False,
        callback=values.members(PROBLEMS),
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        "--methods",
        "--method",
        metavar="NAME,...",
        help="Gradient methods, or FILE.py:NAME, separated by commas; [b]list[/b] shows all.",
        rich_help_panel=WHAT,
        callback=values.members(METHODS),
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
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set an option of the problem, such as batch=500; can be repeated. [b]list --options[/b] explains all.",
        rich_help_panel=WHAT,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        parser=values.path,
        metavar="FILE",
        help="The table to train on, for the problems table, csv and npy.",
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
Tolerances = Annotated[
    str,
    typer.Option(
        metavar="TOL,...",
        help="Relative tolerances of adaptive methods, separated by commas, at most 1; the absolute ones are a "
        "hundredth of these.",
        rich_help_panel=SCHEME,
    ),
]
StepCounts = Annotated[
    str,
    typer.Option(
        metavar="N,...",
        help="Steps per output interval of fixed-step methods, separated by commas.",
        rich_help_panel=SCHEME,
    ),
]
Schemes = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="Schemes of the exact discrete gradients, separated by commas.",
        rich_help_panel=SCHEME,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="torch or julia; julia runs disc-opt and opt-disc by Julia's SciML packages, with their defaults.",
        rich_help_panel=ENGINE,
    ),
]


def _threads(panel: str | None) -> Any:
    told = "CPU threads of torch; more than one pays for large networks only."
    return typer.Option(min=1, max=values.thread_limit(), metavar="N", help=told, rich_help_panel=panel)


Threads = Annotated[int, _threads(WHERE)]
ThreadsOfUse = Annotated[int, _threads(None)]
"""For commands that train nothing."""
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a text names the columns. [dim]Default: seen from the file.[/dim]",
        rich_help_panel=COLUMNS,
        show_default=False,
    ),
]
Decimal = Annotated[
    str | None,
    typer.Option(
        metavar=".|,",
        help="Decimal mark of a text. [dim]Default: seen from the file.[/dim]",
        rich_help_panel=COLUMNS,
        callback=values.choice("--decimal", ".", ","),
    ),
]
Missing = Annotated[
    str | None,
    typer.Option(
        metavar="drop|error",
        help="What to do with rows that miss a value: leave them out, or refuse the file. [dim]Default: error.[/dim]",
        rich_help_panel=COLUMNS,
        callback=values.choice("--missing", "drop", "error"),
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Train nothing, but say how a file of yours is read, which engine each method runs on and how it sees the "
        "field, or why it is torch.",
        rich_help_panel=ENGINE,
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
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file where it exists.")]
RunDirectory = Annotated[
    Path,
    typer.Argument(
        parser=values.path,
        metavar="DIR",
        help="A directory with trained runs: the --out of the command that trained them, or one run inside its runs/.",
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
