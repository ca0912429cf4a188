"""`cost-model`: what the full study would take on GPUs, and how well the same model predicts this machine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.errors import InvalidArgument

if TYPE_CHECKING:
    pass

MOST_GPUS, MOST_SEEDS = 1_024, 100


def cost_model(
    context: typer.Context,
    gpus: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of GPUs, separated by commas.", rich_help_panel=o.WHAT)
    ] = "1,8,64",
    price: Annotated[float, typer.Option(help="Price of one GPU hour in dollars.", rich_help_panel=o.WHAT)] = 3.0,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Runs of each problem by each method.", rich_help_panel=o.WHAT)
    ] = 3,
    device: Annotated[
        str, typer.Option(help="Kind of GPU: a100, h100, v100 or titan-x.", rich_help_panel=o.WHAT, metavar="GPU")
    ] = "a100",
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Also compare the model with measurements on this CPU; takes up to 2 minutes.",
            rich_help_panel=o.WHERE,
        ),
    ] = False,
    out: o.Out = None,
    show: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="DIR",
            help="Compute nothing: show the tables of an earlier cost-model again and redraw its figure.",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
) -> None:
    """Estimate time and cost of the full study (7 problems, two methods, several seeds) on GPUs.

    Nothing runs on a GPU: the operators of an iteration are counted at the study's sizes, turned into seconds under
    listed assumptions, and all runs are scheduled.

    Examples:

      cost-model

      cost-model --gpus 1,4,16 --price 2.5 --device h100

      cost-model --measure --out results/scale
    """
    from experiments.report import report
    from experiments.scale.report import render
    from pynode.cli.console import new_console

    console = new_console()
    if show is not None:
        computed = ("gpus", "price", "seeds", "device", "measure", "out")
        values.check_no_effect(context, "no effect with --show, which computes nothing", "drop one of them", *computed)
        report(show, console, render)
        return
    counts = sorted(set(values.numbers("--gpus", gpus, int)))
    for count in counts:
        if not 1 <= count <= MOST_GPUS:
            raise InvalidArgument("--gpus", count, f"not a number from 1 to {MOST_GPUS}", "use e.g. 1,8,64")
    if not (math.isfinite(price) and price >= 0):
        raise InvalidArgument("--price", price, "not a price", "use e.g. 3.0")
    if not 1 <= seeds <= MOST_SEEDS:
        raise InvalidArgument("--seeds", seeds, f"not a number from 1 to {MOST_SEEDS}", "use e.g. 3")

    from experiments.benchmarks.records import ENVIRONMENT
    from experiments.scale.assumptions import Scenario
    from experiments.scale.check import check
    from experiments.scale.cost import machine
    from experiments.scale.plan import model_study, references
    from experiments.scale.records import path_of
    from pynode.cli.output import output_directory
    from pynode.clock import load_average
    from pynode.records.files import write_json, write_lines
    from pynode.training.machine import environment

    machine(device, Scenario("central"))  # an unknown one is told before work starts
    directory = output_directory(out, "scale", resume=False)
    config = {"gpus": counts, "price": price, "seeds": seeds, "device": device, "measure": measure}
    write_json(directory / "config.json", config)
    before = {"load_average": load_average()} if measure else {}
    write_json(directory / ENVIRONMENT, {**environment(), **before})
    with console.status("starting") as status:
        records = model_study(counts, price, seeds, device, status.update)
        records["references"] = references(device, status.update)
        if measure:
            records |= check(status.update)
    for kind, lines in records.items():
        write_lines(path_of(directory, kind), lines)
    report(directory, console, render)
