"""`sample DIR`: new samples from a trained flow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import check_target
from pynode.errors import InvalidArgument
from pynode.wording import counted

FORMATS = (".npy", ".csv")

MOST_SAMPLES = 10**12

WORKING_COPIES = 10
"""States of all samples that a solve holds at once, about: the stages of a step, its result, the output."""


def sample(
    directory: o.RunDirectory,
    n: Annotated[int, typer.Option("-n", "--number", metavar="N", help="Number of samples.")] = 1000,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=values.LARGEST_SEED,
            metavar="N",
            help="Seed of the base samples: the same seed gives the same samples.",
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="FILE",
            help="New file for the samples, .npy or .csv. [dim]Default: DIR/samples.npy.[/dim]",
            show_default=False,
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of a flow with a condition: what to sample for, as kind=oak; can be repeated. [dim]Default: the "
            "conditions of training rows, drawn at random.[/dim]",
        ),
    ] = None,
    overwrite: o.Overwrite = False,
    rtol: Annotated[
        float,
        typer.Option(callback=values.tolerance, help="Tolerance of the solve, relative and absolute, at most 1."),
    ] = 1e-6,
    threads: o.ThreadsOfUse = 1,
) -> None:
    """Draw samples from a trained flow, in the units of its data, and save them to a file.

    DIR is the directory of one run, or a results directory, of which the run with the best validation loss is taken.
    A file that exists is replaced with --overwrite only. A .csv file of a flow on a table has the table's columns and
    names, those of the condition included; a .npy file has the values alone.

    Examples:

      sample results/8gaussians -n 5000 --out samples.csv

      sample results/npy/runs/disc-opt-rk38-x4-seed0

      sample results/trees --condition kind=oak --out oaks.csv
    """
    path = directory / "samples.npy" if out is None else out
    if path.suffix not in FORMATS:
        raise InvalidArgument("--out", path, "neither .npy nor .csv", "name a file with one of these endings")
    if n < 1:
        raise InvalidArgument("--number", n, "not a positive integer", "ask for 1 sample or more")
    if n > MOST_SAMPLES:
        raise InvalidArgument("--number", n, f"more than {MOST_SAMPLES:,}", "draw fewer samples")
    if directory.is_dir() or out is not None:
        check_target(path, overwrite=overwrite)
    asked = _pairs(condition or [])

    import io

    import numpy as np
    import torch

    from pynode.cli.console import new_console
    from pynode.cli.trained import best_flow
    from pynode.methods.opt_disc import OptDisc
    from pynode.records.files import write_atomically, write_new
    from pynode.table_flows.drawing import drawn, table_text
    from pynode.training.machine import check_bytes

    method = OptDisc(rtol=rtol, atol=rtol)
    torch.set_num_threads(threads)
    folder, problem, model = best_flow(directory)
    columns = problem.dim + problem.context_dim
    check_bytes("--number", n, 8 * n * columns * WORKING_COPIES, problem.device, "draw fewer samples")
    samples = drawn(problem, model, n, asked, seed=seed, method=method)
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, samples.rows, allow_pickle=False)
        content = buffer.getvalue()
    else:
        content = table_text(problem, samples).encode()
    write = write_atomically if overwrite else write_new
    write(path, content)
    console = new_console()
    if samples.described:
        console.say(samples.described)
    console.say(f"{counted(n, 'sample')} of {folder.name}, shape {samples.rows.shape}, in {path}")


def _pairs(texts: list[str]) -> dict[str, str]:
    """Names and values of `--condition NAME=VALUE`, each given once or several separated by commas."""
    pairs: dict[str, str] = {}
    for text in texts:
        for part in re.split(r",(?=[^,=]+=)", text):
            name, equals, value = part.partition("=")
            if not equals or not name.strip():
                raise InvalidArgument("--condition", repr(text), "no NAME=VALUE", "write e.g. --condition kind=oak")
            if name.strip() in pairs:
                raise InvalidArgument("--condition", repr(text), f"{name.strip()} is given twice", "give it once")
            pairs[name.strip()] = value.strip()
    return pairs
