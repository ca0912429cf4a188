"""From options to runs: what the names of methods stand for, and the training of planned runs one after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pynode.errors import (
    Interrupted,
    InvalidArgument,
    NonFiniteLoss,
    OtherRankFailed,
    RecordError,
    SolveError,
    Stopped,
    UnknownName,
)
from pynode.training.plan import check_available, plan
from pynode.world import ALONE, World

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.training.config import RunConfig

__all__ = ["BACKENDS", "check_available", "on_backend", "plan", "train_all"]

BACKENDS: dict[str, dict[str, str]] = {
    "torch": {},
    "julia": {"disc-opt": "disc-opt-julia", "opt-disc": "opt-disc-julia"},
}
"""What the names of methods stand for on each backend."""


def on_backend(methods: list[str], backend: str) -> list[str]:
    """The methods called `methods` as `backend` has them.

    Raises `UnknownName` for another backend, `InvalidArgument` where it has none of them; those that it lacks are left
    out, so that no table mixes backends unasked.
    """
    if backend not in BACKENDS:
        raise UnknownName("backend", backend, BACKENDS)
    names = BACKENDS[backend]
    if not names:
        return methods
    found = [names.get(name, name) for name in methods if name in names or name in names.values()]
    if not found:
        remedy = f"use --methods {','.join(names)}, or leave --backend out"
        raise InvalidArgument("--methods", ",".join(methods), f"the backend {backend} has none of them", remedy)
    return list(dict.fromkeys(found))


def train_all(
    configs: list[RunConfig], directory: Path, *, resume: bool, console: PlainConsole, world: World = ALONE
) -> list[str]:
    """Trains every configuration in `directory`/runs; a run that fails is recorded and the others go on.

    Raises `Stopped` where a signal ends a run: then the others don't go on, and `StorageError` and `RankLost`, since
    the others would fare no better.
    """
    from pynode.cli.progress import TrainingProgress
    from pynode.julia.errors import JuliaError, WorkerError
    from pynode.records.runs import RUNS
    from pynode.training.trainer import train

    failures = []
    with TrainingProgress(console) as progress:
        for config in configs:
            progress.begin(config.label, config.iterations)
            try:
                train(config, directory / RUNS / config.label, resume=resume, listener=progress.advance, world=world)
            except (NonFiniteLoss, SolveError, RecordError, WorkerError, JuliaError, OtherRankFailed) as error:
                failures.append(str(error))
            except Interrupted as error:
                raise Stopped(str(error), error.exit_status) from None
    return failures
