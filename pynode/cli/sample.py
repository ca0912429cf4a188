"""`sample DIR`: new samples from a trained flow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.errors import InvalidArgument, OutputDirectoryError
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file where it exists.")] = False,
    rtol: Annotated[
        float,
        typer.Option(callback=values.tolerance, help="Tolerance of the solve, relative and absolute, at most 1."),
    ] = 1e-6,
    threads: o.Threads = 1,
) -> None:
    """Draw samples from a trained flow, in the units of its data, and save them to a file.

    DIR is the directory of one run, or a results directory, of which the run with the best validation loss is taken.
    A file that exists is replaced with --overwrite only.

    Examples:

      sample results/8gaussians -n 5000 --out samples.csv

      sample results/npy/runs/disc-opt-rk38-x4-seed0
    """
    path = directory / "samples.npy" if out is None else out
    if path.suffix not in FORMATS:
        raise InvalidArgument("--out", path, "neither .npy nor .csv", "name a file with one of these endings")
    if n < 1:
        raise InvalidArgument("--number", n, "not a positive integer", "ask for 1 sample or more")
    if n > MOST_SAMPLES:
        raise InvalidArgument("--number", n, f"more than {MOST_SAMPLES:,}", "draw fewer samples")
    if directory.is_dir() or out is not None:
        _check_target(path, overwrite=overwrite)

    import io

    import numpy as np
    import torch

    from pynode.cli.console import new_console
    from pynode.methods.opt_disc import OptDisc
    from pynode.problems.density.base import Density
    from pynode.records.files import write_atomically, write_new
    from pynode.records.runs import load_run
    from pynode.training.machine import check_bytes
    from pynode.training.restore import restore, runs_in

    method = OptDisc(rtol=rtol, atol=rtol)
    torch.set_num_threads(threads)
    runs = {folder: load_run(folder) for folder in runs_in(directory)}
    done = {folder: run for folder, run in runs.items() if run.finished}
    if not done:
        raise InvalidArgument("DIR", directory, "no finished run there", "finish it with compare --resume")
    best = min(done, key=lambda folder: (done[folder].summary or {}).get("best_validation_loss") or float("inf"))
    _, problem, model = restore(best)
    if not isinstance(problem, Density):
        raise InvalidArgument("DIR", directory, "no flow was trained there", "sample from a density problem")
    check_bytes("--number", n, 8 * n * problem.dim * WORKING_COPIES, problem.device, "draw fewer samples")
    rows = problem.in_raw_units(model.sample(n, seed=seed, method=method))
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, rows, allow_pickle=False)
    else:
        np.savetxt(buffer, rows, delimiter=",", fmt="%.9g")
    write = write_atomically if overwrite else write_new
    write(path, buffer.getvalue())
    new_console().say(f"{counted(n, 'sample')} of {best.name}, shape {rows.shape}, in {path}")


def _check_target(path: Path, *, overwrite: bool) -> None:
    """Raises `OutputDirectoryError` unless a file can be written there without losing another one."""
    if path.is_dir():
        raise OutputDirectoryError(f"--out {path}: is a directory; name a file")
    if os.path.lexists(path) and not overwrite:
        raise OutputDirectoryError(f"--out {path}: exists; choose another file, or replace it with --overwrite")
    if os.path.lexists(path) and not path.is_file():
        raise OutputDirectoryError(f"--out {path}: not a regular file; choose another one")
    if not path.parent.is_dir():
        raise OutputDirectoryError(f"--out {path}: the directory {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputDirectoryError(f"--out {path}: can't write to {path.parent}; choose another file with --out")
