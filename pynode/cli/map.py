"""`map`: where does which method win (RQ5)?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli.output import output_directory
from pynode.errors import ConfigurationMismatch, UnknownName

if TYPE_CHECKING:
    from rich.console import Console

    from pynode.engines.choice import Engine

BACKWARD = "backward"
"""Stands among the axes for the stability of the backward solve."""


def map_winners(
    axes: Annotated[
        str | None,
        typer.Option(
            help="stiffness, horizon, dimension, width, backward. [dim]Default: all.[/dim]", rich_help_panel=o.WHAT
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two values of each axis: a minute or two.", rich_help_panel=o.WHAT)
    ] = False,
    seed: o.Seed = 0,
    engine: o.EngineName = None,
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
) -> None:
    """Cost of a gradient by either method at equal accuracy, over stress problems; and the backward solve's stability.

    Each cell fits a field to a problem's dynamics, then measures Disc-Opt over steps and Opt-Disc over tolerances.

    Examples:

      map

      map --axes stiffness,backward --quick
    """
    from rich.console import Console

    from pynode.checks.winners import AXES
    from pynode.engines.choice import check_engine

    known = (*AXES, BACKWARD)
    chosen = o.names("--axes", axes) if axes else list(known)
    for name in chosen:
        if name not in known:
            raise UnknownName("axis", name, known)
    chosen_engine = check_engine(engine or "auto")
    directory = output_directory(out, "map-quick" if quick else "map", resume=resume)

    import torch

    from pynode.cli.report import report

    torch.set_num_threads(threads)
    console = Console()
    _check_settings(directory / "map.json", {"quick": quick, "seed": seed, **o.given(engine=engine)})
    _measure_axes(directory, [name for name in chosen if name in AXES], seed, quick, chosen_engine, console)
    if BACKWARD in chosen:
        _measure_backward(directory, quick, console)
    report(directory, console, whole=True)


def _check_settings(path: Path, settings: dict[str, object]) -> None:
    """All cells of a map are measured alike; raises `ConfigurationMismatch` where earlier ones were not."""
    from pynode.records.files import read_json, write_json

    if path.exists() and (earlier := read_json(path)) != settings:
        raise ConfigurationMismatch(f"{path.parent} was made with {earlier}, not {settings}; choose another --out")
    write_json(path, settings)


def _measure_axes(directory: Path, names: list[str], seed: int, quick: bool, engine: Engine, console: Console) -> None:
    from pynode.checks.winners import AXES, STEPS, TOLERANCES, measure_cell
    from pynode.records.files import read_lines, write_lines
    from pynode.records.results import WINNERS
    from pynode.records.winners import WinnerRecord

    path = directory / WINNERS
    done = read_lines(path, WinnerRecord) if path.exists() else []
    for name in names:
        axis = AXES[name]
        for value in axis.quick_values if quick else axis.values:
            if any((r.axis, r.value, r.seed) == (name, float(value), seed) for r in done):
                continue
            with console.status(f"{axis.problem}, {name} {value:g}"):
                found = measure_cell(
                    axis,
                    value,
                    seed=seed,
                    collocation=300 if quick else 2000,
                    steps=STEPS[:5] if quick else STEPS,
                    tolerances=TOLERANCES[:6] if quick else TOLERANCES,
                    repeats=1 if quick else 3,
                    engine=engine,
                )
            done += found
            write_lines(path, done)  # whole cells only, so that --resume knows what is done
            console.print(f"{axis.problem}, {name} {value:g}: {len(found)} gradients", highlight=False)


def _measure_backward(directory: Path, quick: bool, console: Console) -> None:
    from pynode.checks.stability import FIELDS, HORIZONS, measure_stability
    from pynode.records.files import read_lines, write_lines
    from pynode.records.results import STABILITY
    from pynode.records.winners import StabilityRecord

    path = directory / STABILITY
    done = read_lines(path, StabilityRecord) if path.exists() else []
    for name in FIELDS:
        for horizon in HORIZONS[:3] if quick else HORIZONS:
            for seed in (0,) if quick else (0, 1, 2):
                if any((r.architecture, r.horizon, r.seed) == (name, horizon, seed) for r in done):
                    continue
                with console.status(f"backward solve: {name}, T = {horizon:g}, seed {seed}"):
                    done.append(measure_stability(name, horizon, seed))
                write_lines(path, done)
        console.print(f"backward solve: {name}", highlight=False)
