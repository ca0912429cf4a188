"""The trained flow of a run or of a results directory, for the commands that use one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pynode.cli.output import check_results
from pynode.errors import InvalidArgument

if TYPE_CHECKING:
    from pynode.flows.flow import Flow
    from pynode.problems.density.base import Density
    from pynode.records.runs import Run

UNFINISHED = "repeat the command that trained it with --resume"
"""What to do about a directory without a finished run."""


def best_flow(directory: Path) -> tuple[Path, Density, Flow]:
    """The finished run in `directory` with the best validation loss: its folder, its problem, its flow.

    Raises `InvalidArgument` where no run is finished, or the run is no flow.
    """
    from pynode.datasets.tables import without_notices
    from pynode.problems.density.base import Density
    from pynode.records.runs import load_run
    from pynode.training.restore import restore, runs_in

    check_results(directory)
    runs = {folder: load_run(folder) for folder in runs_in(directory)}
    done = {folder: run for folder, run in runs.items() if run.finished}
    if not done:
        raise InvalidArgument("DIR", directory, "no finished run there", UNFINISHED)
    best = min(done, key=lambda folder: _loss(done[folder]))
    with without_notices():
        _, problem, model = restore(best)
    if not isinstance(problem, Density):
        raise InvalidArgument("DIR", directory, "no flow was trained there", "use the results of a density problem")
    return best, problem, model


def _loss(run: Run) -> float:
    loss = (run.summary or {}).get("best_validation_loss")
    return float("inf") if loss is None else float(loss)
