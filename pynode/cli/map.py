"""`map`: which method costs less on which problem (RQ5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, with_options
from pynode.cli.output import output_directory
from pynode.errors import ConfigurationMismatch, UnknownName

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole

BACKWARD = "backward"
"""The axis that stands for the stability of the backward solve."""


@with_options(only=("engine",))
def map_winners(
    context: typer.Context,
    given: Given,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="What to vary, separated by commas: stiffness, horizon, dimension, width, backward. "
            "[dim]Default: all.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Two values of each axis only: takes a minute or two.", rich_help_panel=o.WHAT),
    ] = False,
    seed: o.Seed = 0,
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
) -> None:
    """Measure what a gradient of equal accuracy costs by either method on problems that are hard in different ways.

    For each value of an axis, a field is fitted to the dynamics of a problem; then Disc-Opt is measured over step
    counts and Opt-Disc over tolerances. The axis backward measures how stable the backward solve is.

    Examples:

      map

      map --axes stiffness,backward --quick
    """
    from pynode.cli.console import new_console
    from pynode.engines.choice import AUTO
    from pynode.studies.winners.map import AXES

    known = (*AXES, BACKWARD)
    chosen = values.names("--axes", axes) if axes is not None else list(known)
    for name in chosen:
        if name not in known:
            raise UnknownName("axis", name, known)
    if chosen == [BACKWARD]:
        values.check_no_effect(context, "no effect on the axis backward", "drop it, or add an axis", "seed", "engine")
    chosen_engine = given.methods.get("engine", AUTO)
    directory = output_directory(out, "map-quick" if quick else "map", resume=resume)

    import torch

    from pynode.cli.report import report

    torch.set_num_threads(threads)
    console = new_console()
    _check_settings(directory / "map.json", {"quick": quick, "seed": seed, **given.methods})
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


def _measure_axes(
    directory: Path, names: list[str], seed: int, quick: bool, engine: str, console: PlainConsole
) -> None:
    from pynode.records.files import read_lines, write_lines
    from pynode.studies.results import WINNERS
    from pynode.studies.winners.map import AXES, STEPS, TOLERANCES, measure_cell
    from pynode.studies.winners.record import WinnerRecord

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
            console.say(f"{axis.problem}, {name} {value:g}: {len(found)} gradients")


def _measure_backward(directory: Path, quick: bool, console: PlainConsole) -> None:
    from pynode.records.files import read_lines, write_lines
    from pynode.studies.results import STABILITY
    from pynode.studies.winners.record import StabilityRecord
    from pynode.studies.winners.stability import FIELDS, HORIZONS, measure_stability

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
        console.say(f"backward solve: {name}")
