"""`sample DIR`: new samples from a trained flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli.evaluate import RunDirectory
from pynode.errors import InvalidArgument, OutputDirectoryError


def sample(
    directory: RunDirectory,
    n: Annotated[int, typer.Option("-n", "--number", help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the base samples.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File, .npy or .csv. [dim]Default: DIR/samples.npy.[/dim]", show_default=False)
    ] = None,
    rtol: Annotated[float, typer.Option(help="Tolerance of the solve, relative and absolute.")] = 1e-6,
    threads: o.Threads = 1,
) -> None:
    """Draw samples from a trained flow, in the units of its data, and save them.

    DIR is the folder of one run, or a results directory, of which the run with the best validation is taken.

    Examples:

      sample results/8gaussians -n 5000 --out samples.csv

      sample results/npy/runs/disc-opt-rk38-x4-seed0
    """
    if n < 1:
        raise InvalidArgument("--number", n, "not a positive integer", "ask for 1 sample or more")
    if out is not None and out.suffix not in (".npy", ".csv"):
        raise InvalidArgument("--out", out, "neither .npy nor .csv", "name a file with one of these endings")

    import io

    import numpy as np
    import torch

    from pynode.gradients.opt_disc import OptDisc
    from pynode.problems.density.base import Density
    from pynode.records.files import write_atomically
    from pynode.records.results import load_run
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
    rows = problem.in_raw_units(model.sample(n, seed=seed, method=method))
    path = out or directory / "samples.npy"
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        np.save(buffer, rows, allow_pickle=False)
    else:
        np.savetxt(buffer, rows, delimiter=",", fmt="%.9g")
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise OutputDirectoryError(
            f"--out {path}: can't write there ({error.strerror}); choose another file"
        ) from error
    print(f"{n} samples of {best.name}, shape {rows.shape}, in {path}")
