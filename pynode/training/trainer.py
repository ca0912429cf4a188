"""Training: spends a problem and a gradient method, leaves records.

Outside the clock: warm-up, memory probes, validation, writing.  A run that was killed, interrupted or damaged continues
from its last good checkpoint to the same numbers, on any number of ranks.
"""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pynode.errors import Interrupted, InvalidArgument, RankLost, SolveError
from pynode.julia.errors import JuliaError, WorkerError
from pynode.problems.base import Problem
from pynode.records.files import make_directory
from pynode.records.lock import lock
from pynode.training import checkpoint
from pynode.training.agreement import agreed_signal, from_writer
from pynode.training.config import RunConfig, check_device
from pynode.training.data import with_rows
from pynode.training.engine import decided
from pynode.training.keeping import OnDisk
from pynode.training.loop import Loop
from pynode.training.optimiser import make_adam
from pynode.training.progress import Progress
from pynode.training.run_directory import Start, open_run
from pynode.training.session import Listener, Session
from pynode.training.signals import Stop
from pynode.training.storage import FolderStorage, Storage
from pynode.world import ALONE, World


def train(
    config: RunConfig,
    directory: Path,
    *,
    resume: bool = False,
    listener: Listener | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Runs `config` in `directory` and returns its summary; `listener` is called after every iteration.

    With `resume`, a finished run is left alone, an unfinished one continues from its last good checkpoint, and a run
    that never began begins.  All ranks of a `world` call this together: each takes its share of every batch, and the
    first one writes.

    Raises `OutputDirectoryError` (the directory holds a run already, or another process works in it),
    `ConfigurationMismatch` (resumed with another configuration), `RecordError` (no checkpoint can be read);
    `NonFiniteLoss`, `SolveError`, `RankLost` and, for SIGINT and SIGTERM, `Interrupted`, after saving what there is;
    `StorageError` where nothing can be saved any more: then the last checkpoint stands.
    """
    check_device(config.device)
    problem = config.make_problem(world)
    if world.size > 1:
        problem.check()
        if problem.stages():
            why = f"{problem.name} has stages after Adam, which ranks can't share"
            raise InvalidArgument("WORLD_SIZE", world.size, why, "run it in one process, without torchrun")
        config.method.check_ranks(world)
    with contextlib.ExitStack() as held:
        stop = held.enter_context(Stop(together=world.size > 1))

        def begin() -> bytes:
            make_directory(directory)
            held.enter_context(lock(directory))
            check = partial(_load, config, problem)
            decide = partial(decided, problem=problem)
            rows = partial(with_rows, problem=problem)
            start = open_run(
                config, directory, resume=resume, ranks=world.size, check=check, decide=decide, on_rows=rows
            )
            return _pack(start)

        config, summary, content = _unpack(from_writer(world, begin))
        if summary is None:
            keeper = OnDisk(directory)
            loop = start_of(config, problem, keeper.adam, stop, content, directory)
            session = Session(loop, keeper, listener, directory)
            session.run()
            summary = _finished(session)
        heard = agreed_signal(world, stop)
    if heard is not None:  # too late to stop this run, but not those that would follow
        raise Interrupted(heard, f"interrupted after {config.label} was finished")
    return summary


def _pack(start: Start) -> bytes:
    """What the writer tells all ranks about where to begin: a line of JSON, then the checkpoint, if there is one."""
    content = b"" if start.checkpoint is None else start.checkpoint.content
    return json.dumps([start.config.to_json(), start.finished]).encode() + b"\n" + content


def _unpack(told: bytes) -> tuple[RunConfig, dict[str, Any] | None, bytes]:
    """Configuration, summary of a finished run or None, content of a checkpoint or nothing."""
    head, _, content = told.partition(b"\n")
    config, summary = json.loads(head)
    return RunConfig.from_json(config), summary, content


def start_of(
    config: RunConfig, problem: Problem, storage: Storage, stop: Stop, content: bytes = b"", directory: Path = Path()
) -> Loop:
    """The run at its beginning, or as the `content` of its checkpoint in `directory` has it."""
    point = checkpoint.decode(content, str(directory / checkpoint.NAME)) if content else None
    model, optimiser, progress = _load(config, problem, point)
    best = anchor = model.theta()
    if point is not None:
        best = point.extra("best")
        anchor = point.extra("anchor") if point.has("anchor") else best
        if isinstance(storage, FolderStorage):
            storage.saved = point.iteration
    return Loop(config, problem, model, optimiser, progress, best, anchor, storage, stop, problem.world)


def _load(
    config: RunConfig, problem: Problem, point: checkpoint.Checkpoint | None
) -> tuple[Any, torch.optim.Optimizer, Progress]:
    """Model, optimiser and progress of a run, new or as a checkpoint has them; raises where that does not fit."""
    model = problem.model(config.seed)
    optimiser = make_adam(problem.parameter_groups(model), config.learning_rate, config.weight_decay)
    if point is None:
        return model, optimiser, Progress()
    progress = Progress.from_json(point.progress)
    checkpoint.load_into(point, model, optimiser)
    return model, optimiser, progress


def _finished(session: Session) -> dict[str, Any]:
    """Evaluates the best weights and writes the summary."""
    loop = session.loop
    loop.model.set_theta(session.best)
    try:
        with loop.stop.interruptible():
            evaluation = loop.problem.evaluate(loop.model, loop.method)
    except (SolveError, WorkerError, JuliaError) as error:  # the training is whole; its summary says so
        more: dict[str, Any] = {"evaluation_failure": str(error)}
    except KeyboardInterrupt as error:
        raise session.stopped(session.finishing or loop, error, saved=True) from None
    except RankLost as error:
        error.args = (f"{loop.config.label}, trained to its end and saved: {error}",)
        raise
    else:
        if loop.world.is_writer:
            session.keeper.keep_evaluation(evaluation)
        more = dict(evaluation.metrics)
    return session.summarise(status="finished", warmup_seconds=session.warmup, **more)
