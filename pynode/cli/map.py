"""`map`: which method costs less on which problem (RQ5)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, with_options
from pynode.cli.output import ENVIRONMENT, note_environment, output_directory
from pynode.errors import ConfigurationMismatch, InvalidArgument, UnknownName

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole

SETTINGS = "map.json"
"""File with what all cells of a map have in common."""

BACKWARD = "backward"
"""The axis that stands for the stability of the backward solve."""

SEEDS = "0,1,2"
"""Seeds of a map where none are given; a quick one takes the first."""


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
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seed",
            "--seeds",
            metavar="N,...",
            help="Seeds of the weights, separated by commas: every cell is measured for each. "
            f"[dim]Default: {SEEDS}; with --quick 0.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
) -> None:
    """Measure what a gradient of equal accuracy costs by either method on problems that are hard in different ways.

    For each value of an axis and each seed, a field is fitted to the dynamics of a problem; then Disc-Opt is measured
    over step counts and Opt-Disc over tolerances, both by one engine (compiled kernels where they are installed). The
    axis backward measures how stable the backward solve is. Tables show medians over seeds.

    Gradients are timed repeatedly, after a first one that is not counted. Where the times scatter by more than 20 %
    (interquartile range over median) they are taken again up to three times; what still scatters is left out of the
    ratios of times. Records hold the scatter and the load average of the machine: run it on an idle one.

    --resume measures what is missing, also of seeds and axes that were not asked for before.

    Examples:

      map

      map --seeds 0,1,2,3,4 --engine eager

      map --axes stiffness,backward --quick
    """
    from pynode.cli.console import new_console
    from pynode.engines.choice import AUTO
    from pynode.studies.winners.map import AXES, one_engine

    known = (*AXES, BACKWARD)
    chosen = values.names("--axes", axes) if axes is not None else list(known)
    for name in chosen:
        if name not in known:
            raise UnknownName("axis", name, known)
    listed = _seeds(seeds if seeds is not None else SEEDS[:1] if quick else SEEDS)
    engine = one_engine(given.methods.get("engine", AUTO))
    begun = (SETTINGS, ENVIRONMENT)
    directory = output_directory(out, "map-quick" if quick else "map", resume=resume, begun=begun)

    import torch

    from pynode.cli.results import print_results
    from pynode.training.machine import environment

    torch.set_num_threads(threads)
    console = new_console()
    _check_settings(directory / SETTINGS, {"quick": quick, "engine": engine, "threads": threads})
    note_environment(directory, environment())
    _measure_axes(directory, [name for name in chosen if name in AXES], listed, quick, engine, console)
    if BACKWARD in chosen:
        _measure_backward(directory, listed, quick, engine, console)
    print_results(directory, console, whole=True)


def _seeds(text: str) -> list[int]:
    """The seeds of `text`; raises `InvalidArgument`."""
    listed = values.numbers("--seeds", text, int)
    for seed in listed:
        if not 0 <= seed <= values.LARGEST_SEED:
            raise InvalidArgument("--seeds", seed, "not an integer from 0 to 2^63 - 1", "use 0, 1, 2, ...")
    return listed


def _check_settings(path: Path, settings: dict[str, object]) -> None:
    """All cells of a map are measured alike; raises `ConfigurationMismatch` where earlier ones were not."""
    from pynode.records.files import read_json, write_json

    if path.exists() and (earlier := read_json(path)) != settings:
        if not isinstance(earlier, dict) or set(earlier) != set(settings):
            keys = ", ".join(earlier) if isinstance(earlier, dict) else "no settings"
            raise ConfigurationMismatch(
                f"{path.parent} was made by another version of pynode, whose {path.name} has {keys} in place of "
                f"{', '.join(settings)}; choose another --out"
            )
        raise ConfigurationMismatch(f"{path.parent} was made with {earlier}, not {settings}; choose another --out")
    write_json(path, settings)


def _measure_axes(
    directory: Path, names: list[str], seeds: list[int], quick: bool, engine: str, console: PlainConsole
) -> None:
    from pynode.records.files import lines_if_any, write_lines
    from pynode.studies.results import WINNERS
    from pynode.studies.winners.map import AXES, STEPS, TOLERANCES, measure_cell
    from pynode.studies.winners.record import WinnerRecord

    path = directory / WINNERS
    done = lines_if_any(path, WinnerRecord)
    wanted = [(AXES[name], value) for name in names for value in AXES[name].values_of(quick=quick)]
    for axis, value in wanted:
        for seed in seeds:
            if any((r.axis, r.value, r.seed) == (axis.name, float(value), seed) for r in done):
                continue
            cell = f"{axis.problem}, {axis.name} {value:g}, seed {seed}"
            with console.status(cell):
                measured = measure_cell(
                    axis,
                    value,
                    seed=seed,
                    collocation=300 if quick else None,
                    steps=STEPS[:5] if quick else STEPS,
                    tolerances=TOLERANCES[:6] if quick else TOLERANCES,
                    engine=engine,
                )
            done += measured
            write_lines(path, done)  # whole cells only, so that --resume knows what is done
            unsteady = sum(not record.is_steady for record in measured)
            console.say(f"{cell}: {len(measured)} gradients{f', the times of {unsteady} scatter' if unsteady else ''}")


def _measure_backward(directory: Path, seeds: list[int], quick: bool, engine: str, console: PlainConsole) -> None:
    from pynode.records.files import lines_if_any, write_lines
    from pynode.studies.results import STABILITY
    from pynode.studies.winners.record import StabilityRecord
    from pynode.studies.winners.stability import FIELDS, HORIZONS, measure_stability

    path = directory / STABILITY
    done = lines_if_any(path, StabilityRecord)
    for name in FIELDS:
        for horizon in HORIZONS[:3] if quick else HORIZONS:
            for seed in seeds:
                if any((r.architecture, r.horizon, r.seed) == (name, horizon, seed) for r in done):
                    continue
                with console.status(f"backward solve: {name}, T = {horizon:g}, seed {seed}"):
                    done.append(measure_stability(name, horizon, seed, engine=engine))
                write_lines(path, done)
        console.say(f"backward solve: {name}")
