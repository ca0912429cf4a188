"""A trained model back from its run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pynode.errors import CheckpointMismatch, RecordError
from pynode.problems.base import Problem
from pynode.records.files import read_json
from pynode.records.results import RUNS
from pynode.training.checkpoint import best_theta
from pynode.training.config import RunConfig, usable_here


def restore(directory: Path) -> tuple[RunConfig, Problem, Any]:
    """Configuration, problem, and the model with the best weights of the run in `directory`.

    On the CPU where the device that it was trained on is not there.

    Raises `RecordError` where the run is damaged, and `CheckpointMismatch` where its weights don't fit the model, as
    when a user's table has other columns now.
    """
    config = RunConfig.from_json(usable_here(read_json(directory / "config.json")))
    problem = config.make_problem()
    problem.check()
    model = problem.model(config.seed)
    theta = best_theta(directory, config.problem)
    if theta.shape != model.theta().shape:
        raise CheckpointMismatch(
            f"{directory} holds {theta.numel():,} weights, but {config.problem} with its data as they are now needs "
            f"{model.theta().numel():,}; give the data that the run was trained on"
        )
    model.set_theta(theta)
    return config, problem, model


def runs_in(directory: Path) -> list[Path]:
    """The run directories of a results directory, or `directory` itself if it is a run; raises `RecordError`."""
    if (directory / "config.json").exists():
        return [directory]
    found = sorted(p.parent for p in (directory / RUNS).glob("*/config.json"))
    if not found:
        parts = sorted(p.parent.name for p in directory.glob(f"*/{RUNS}"))
        inside = f" or one of {', '.join(parts)} in it" if parts else ""
        raise RecordError(
            f"{directory} holds no run; pass the --out of an earlier command{inside}, or a run in its runs/"
        )
    return found
