"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from pynode.errors import InvalidArgument, UnknownName, UsageError

T = TypeVar("T")

WHAT, HOW, WHERE = "What is trained", "How it is solved and differentiated", "Where and how long"


def _read_config(context: typer.Context, file: Path | None) -> Path | None:
    """Takes the values of a TOML file as defaults: what stands on the command line still wins."""
    if file is None or context.resilient_parsing:
        return file
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {file}: can't be read ({error.strerror}); give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {file}: no valid TOML ({error}); mend the file") from error
    params = {_key(p): p for p in context.command.params if p.name and p.name != "config"}
    for key in values:
        if key not in params:
            raise UnknownName(f"option in {file}", key, sorted(params))
    context.default_map = {
        str(params[k].name): _as_list(v) if getattr(params[k], "multiple", False) else _as_text(v)
        for k, v in values.items()
    }
    return file


def _key(param: Any) -> str:
    """The name of an option in a file: as on the command line, with underscores."""
    return "set" if "--set" in param.opts else str(param.name)


def _as_list(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _as_text(value: Any) -> Any:
    return ",".join(str(v) for v in value) if isinstance(value, list) else value


ProblemName = Annotated[str, typer.Argument(help="Name of a problem; see [b]list[/b].", show_default=False)]
Methods = Annotated[str, typer.Option(help="Gradient methods, comma separated.", rich_help_panel=WHAT)]
Seeds = Annotated[str, typer.Option("--seed", "--seeds", help="Seeds, comma separated.", rich_help_panel=WHAT)]
Seed = Annotated[int, typer.Option(help="Seed of the weights.", rich_help_panel=WHAT)]
Iterations = Annotated[
    int | None, typer.Option(help="Iterations per run. [dim]Default: the study's.[/dim]", rich_help_panel=WHAT)
]
LearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", "--lr", help="Of Adam. [dim]Default: the study's.[/dim]", rich_help_panel=WHAT),
]
Faithful = Annotated[
    bool, typer.Option("--faithful", help="Restore the defects of the original study.", rich_help_panel=WHAT)
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option of the problem (see [b]list --options[/b]).",
        rich_help_panel=WHAT,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The table of csv and npy.", rich_help_panel=WHAT, show_default=False),
]
Rtol = Annotated[float | None, typer.Option(help="Relative tolerance (adaptive methods).", rich_help_panel=HOW)]
Atol = Annotated[float | None, typer.Option(help="Absolute tolerance (adaptive methods).", rich_help_panel=HOW)]
AdjointRtol = Annotated[
    float | None, typer.Option(help="Of the adjoint solve. [dim]Default: --rtol.[/dim]", rich_help_panel=HOW)
]
AdjointAtol = Annotated[
    float | None, typer.Option(help="Of the adjoint solve. [dim]Default: --atol.[/dim]", rich_help_panel=HOW)
]
Solver = Annotated[
    str | None, typer.Option(help="Adaptive solver: dopri5, ...; tsit5, vern7, auto (Julia).", rich_help_panel=HOW)
]
Steps = Annotated[int | None, typer.Option(help="Steps per output interval (fixed-step methods).", rich_help_panel=HOW)]
SchemeName = Annotated[str | None, typer.Option("--scheme", help="Fixed-step scheme.", rich_help_panel=HOW)]
Memory = Annotated[
    str | None, typer.Option(help="store, recompute or checkpoint: what disc-opt keeps.", rich_help_panel=HOW)
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--memory-budget",
        "--budget",
        help="States that --memory checkpoint stores. [dim]Default: about sqrt(2 steps).[/dim]",
        rich_help_panel=HOW,
    ),
]
Adjoint = Annotated[
    str | None,
    typer.Option(
        help="opt-disc-fixed: explicit, backward-euler; opt-disc-julia: gauss, interpolating, quadrature, backsolve.",
        rich_help_panel=HOW,
    ),
]
Vjp = Annotated[
    str | None,
    typer.Option(help="opt-disc-julia: handwritten, reversediff, zygote or enzyme.", rich_help_panel=HOW),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="eager (torch operators), fused (compiled kernels), auto: fused where it pays. [dim]Default: auto.[/dim]",
        rich_help_panel=HOW,
    ),
]
Backend = Annotated[
    str,
    typer.Option(help="torch, or julia: disc-opt and opt-disc as Julia's SciML runs them.", rich_help_panel=HOW),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.", rich_help_panel=WHERE)]
Dtype = Annotated[
    str | None, typer.Option(help="float64 or float32. [dim]Default: the problem's.[/dim]", rich_help_panel=WHERE)
]
Threads = Annotated[
    int, typer.Option(min=1, help="Of torch on the CPU; more only pays for large nets.", rich_help_panel=WHERE)
]
Out = Annotated[
    Path | None,
    typer.Option(help="New directory for the results. [dim]Default: under results/.[/dim]", rich_help_panel=WHERE),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue what an earlier command left in --out.", rich_help_panel=WHERE)
]
OnFailure = Annotated[
    str | None,
    typer.Option(
        help="When a solve fails or a loss is not finite: stop, skip the batch, or restore the best weights and go on "
        "with half the learning rate. [dim]Default: stop.[/dim]",
        rich_help_panel=WHERE,
    ),
]
RankTimeout = Annotated[
    float,
    typer.Option(help="Seconds that ranks (started by torchrun) wait for each other.", rich_help_panel=WHERE),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with options; those on the command line win.",
        rich_help_panel=WHERE,
        is_eager=True,
        callback=_read_config,
    ),
]


def names(argument: str, text: str) -> list[str]:
    """The comma-separated names of `text`, without repeats."""
    found = list(dict.fromkeys(part.strip() for part in str(text).split(",") if part.strip()))
    if not found:
        raise InvalidArgument(argument, repr(text), "empty", "give one or more, separated by commas")
    return found


def numbers(argument: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """The comma-separated numbers of `text`."""
    try:
        return list(dict.fromkeys(kind(part) for part in names(argument, text)))
    except ValueError as error:
        raise InvalidArgument(argument, text, "not numbers separated by commas", "write e.g. 1,2,4") from error


def given(**options: Any) -> dict[str, Any]:
    """Those of the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}
