"""A trained model back from its run directory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pynode.errors import CheckpointMismatch, InvalidArgument, NameClash, OutsideError, PynodeError, RecordError
from pynode.problems.base import Problem
from pynode.records.content import is_there
from pynode.records.run_files import CONFIG, RESUME, read_config
from pynode.records.runs import RUNS, records_of, run_folders
from pynode.training.checkpoint import NAME, PREVIOUS
from pynode.training.config import RunConfig, usable_here
from pynode.training.data import DATA, check_file, check_same_rows
from pynode.training.origins import changed_members
from pynode.training.weights import best_theta, last_theta

_log = logging.getLogger("pynode")


def restore(directory: Path, *, last: bool = False) -> tuple[RunConfig, Problem, Any]:
    """Configuration, problem, and the model with the best weights of the run in `directory`.

    With `last` those after the last stage of its training, on all rows where some were held out before.
    On the CPU where the device that it was trained on is not there.

    Raises `UsageError` where the user's file that it was trained on has gone, `RecordError` where the run is damaged,
    and `CheckpointMismatch` where its weights don't fit the model, as when a user's table has other columns now;
    `ConfigurationMismatch` where the rows are not those of the run.
    """
    config = config_of(directory)
    check_file(directory, config.options.get(DATA))
    problem = config.make_problem()
    problem.check()
    check_same_rows(config.label, config.data, problem.data_record())
    model = problem.blank_model(config.seed)
    for change in changed_members(config.to_json(), read_config(directory)):
        _log.warning("%s: %s", directory, change)
    theta = (last_theta if last and problem.stages() else best_theta)(directory, config.problem)
    if theta.shape != model.theta().shape:
        raise CheckpointMismatch(
            f"{directory} holds {theta.numel():,} weights, but {config.problem} with its data as they are now needs "
            f"{model.theta().numel():,}; give the data that the run was trained on, or train anew where they are the "
            "same: an earlier version may have read or modelled them otherwise"
        )
    model.set_theta(theta)
    return config, problem, model


def config_of(directory: Path) -> RunConfig:
    """The configuration of the run in `directory`, on the CPU where its device is not here; raises `RecordError`."""
    plain = read_config(directory)
    try:
        return RunConfig.from_json(usable_here(plain))
    except (OutsideError, NameClash):
        raise
    except PynodeError as error:
        raise RecordError(f"{directory / CONFIG} is damaged: {error}; {RESUME}") from error


def check_trained(option: str, directory: Path, problem: str) -> None:
    """Raises `InvalidArgument`, for the value `directory` of `option`, unless it holds a run of `problem`.

    Raises `RecordError` for a run whose configuration is lost or damaged.
    """
    of_a_run = (directory / CONFIG, records_of(directory), directory / NAME, directory / PREVIOUS)
    if any(is_there(path) for path in of_a_run):  # a results directory has a summary as well
        if (trained := read_config(directory)["problem"]) != problem:
            raise InvalidArgument(
                option,
                directory,
                f"it holds a run of {trained}, not of {problem}",
                f"give a run of {problem}, or name {trained} as the problem",
            )
        return
    known = _runs_near(directory, problem)
    remedy = f"give the directory of a run of {problem}"
    if known:
        remedy = f"give {known[0]}" + (f", or another run in {known[0].parent}" if len(known) > 1 else "")
    what = "it holds no run" if directory.is_dir() else "it is no directory"
    raise InvalidArgument(option, directory, what if is_there(directory) else "there is no such directory", remedy)


def _runs_near(directory: Path, problem: str) -> list[Path]:
    """The runs of `problem` where `directory` is a results directory, the runs/ of one, a name in that, or a sweep."""
    if directory.name == RUNS:
        tops = [directory.parent]
    elif directory.parent.name == RUNS:
        tops = [directory.parent.parent]
    else:
        tops = [directory, *sorted(path.parent for path in directory.glob(f"*/{RUNS}"))]
    for top in tops:
        if runs := [folder for folder in run_folders(top) if _problem_of(folder) == problem]:
            return runs
    return []


def _problem_of(directory: Path) -> str | None:
    try:
        return str(read_config(directory)["problem"])
    except RecordError:
        return None


def runs_in(directory: Path) -> list[Path]:
    """The run directories of a results directory, or `directory` itself if it is a run; raises `RecordError`."""
    if is_there(directory / CONFIG):
        return [directory]
    folders = run_folders(directory)
    if not folders:
        parts = sorted(p.parent.name for p in directory.glob(f"*/{RUNS}"))
        inside = f" or one of {', '.join(parts)} in it" if parts else ""
        raise RecordError(
            f"{directory} holds no run; pass the --out of an earlier command{inside}, or a run in its runs/"
        )
    return folders
