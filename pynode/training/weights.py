"""The trained weights in a run directory, of Adam or of the stages after it."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from pynode.errors import RecordError
from pynode.records.content import is_there
from pynode.records.run_files import read_config
from pynode.training.checkpoint import NAME, PREVIOUS, read_intact
from pynode.training.progress import FinishingProgress, Progress
from pynode.types import Theta

_log = logging.getLogger("pynode")

FINISHING = "finishing"
"""The folder in a run directory with records and checkpoints of the stages after Adam."""


def best_theta(directory: Path, problem: str) -> Theta:
    """The best parameters `(n_params,)` of the run in `directory`; raises `RecordError`, also for another problem.

    After the stages that follow Adam, where there are any, as far as the run has come.
    """
    return _theta(directory, problem, "best")


def last_theta(directory: Path, problem: str) -> Theta:
    """The parameters `(n_params,)` after the last stage, which may have been trained on held-out rows as well; raises
    as `best_theta`, and where the run has no stages after Adam."""
    if not _has_stages(directory):
        raise RecordError(
            f"{directory / FINISHING} has no checkpoint; remove {directory / 'summary.json'} and repeat the command "
            "with --resume, which finishes the training"
        )
    return _theta(directory, problem, "last")


def _has_stages(directory: Path) -> bool:
    return any(is_there(directory / FINISHING / name) for name in (NAME, PREVIOUS))


def _theta(directory: Path, problem: str, which: str) -> Theta:
    if (trained := read_config(directory)["problem"]) != problem:
        raise RecordError(f"{directory} holds a run of {trained}, not of {problem}; pass one of {problem}")
    finishing = _has_stages(directory)
    folder = directory / FINISHING if finishing else directory
    intact, damaged = read_intact(folder, (FinishingProgress if finishing else Progress).from_json)
    if not intact:
        reason = next(iter(damaged.values()), "there is none")
        remedy = "if the run has ended, remove its directory and repeat the command with --resume to train it again"
        if finishing:
            remedy = "repeat the command with --resume, which finishes the training again"
        raise RecordError(f"{folder} has no checkpoint that can be read: {reason}; {remedy}")
    if NAME in damaged:
        _log.warning("%s; the checkpoint before it is taken", damaged[NAME])
    name, newest = intact[0]
    theta = newest.tensors.get(f"extra.{which}")
    if theta is None or theta.ndim != 1 or theta.dtype != torch.float64 or not bool(torch.isfinite(theta).all()):
        problem_of_it = "is missing" if theta is None else "is not a vector of finite float64 numbers"
        raise RecordError(f"{folder / name}: extra.{which} {problem_of_it}; restore the file")
    return theta
