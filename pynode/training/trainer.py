"""Training: spends a problem and a gradient method, leaves records.

Outside the clock: warm-up, memory probes, validation, writing.  A run that was killed, interrupted or damaged continues
from its last good checkpoint to the same numbers, on any number of ranks.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pynode.errors import Interrupted, NonFiniteLoss, PynodeError, RankLost, SolveError, StorageError
from pynode.julia.errors import JuliaError, WorkerError
from pynode.precision import products_in
from pynode.problems.base import Problem
from pynode.records.events import note
from pynode.records.files import append_line, make_directory, remove, write_json
from pynode.records.iteration import IterationRecord
from pynode.records.lock import lock
from pynode.records.run_files import EVALUATION, SUMMARY
from pynode.records.runs import RECORDS
from pynode.training import checkpoint
from pynode.training.agreement import agreed_signal, from_writer
from pynode.training.config import RunConfig, check_device
from pynode.training.data import with_rows
from pynode.training.engine import decided
from pynode.training.loop import Loop
from pynode.training.optimiser import make_adam
from pynode.training.progress import Progress, summarise
from pynode.training.run_directory import Start, open_run
from pynode.training.signals import Stop
from pynode.world import ALONE, World

Listener = Callable[[IterationRecord], None]

SAVED, LAST_STANDS = "saved", "the last checkpoint stands"


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
            summary = _run(_loop(config, problem, content, directory, stop), listener)
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


def _loop(config: RunConfig, problem: Problem, content: bytes, directory: Path, stop: Stop) -> Loop:
    """The run at its beginning, or as the checkpoint has it."""
    point = checkpoint.decode(content, str(directory / checkpoint.NAME)) if content else None
    model, optimiser, progress = _load(config, problem, point)
    best, saved = model.theta(), None
    anchor = best
    if point is not None:
        best, saved = point.extra("best"), point.iteration
        anchor = point.extra("anchor") if point.has("anchor") else best
    return Loop(config, problem, model, optimiser, progress, best, anchor, directory, stop, problem.world, saved)


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


def _run(loop: Loop, listener: Listener | None) -> dict[str, Any]:
    """The iterations that are left, the evaluation, the summary."""
    config, directory, writes = loop.config, loop.directory, loop.world.is_writer
    warmup, goes_on = 0.0, False
    try:
        with products_in(config.precision):
            loop.set_rate()
            if not loop.ended:
                with loop.stop.interruptible():
                    warmup = loop.warm_up()
            while not loop.ended:
                loop.stop.check()
                record = loop.iterate()
                if writes:
                    if not goes_on:
                        _forget_ends(directory)
                        goes_on = True
                    append_line(directory / RECORDS, record)
                if loop.ended or loop.progress.iteration % config.checkpoint_every == 0:
                    loop.save()
                if listener:
                    listener(record)
    except KeyboardInterrupt as error:
        raise _interrupted(loop, error) from None
    except (NonFiniteLoss, SolveError, WorkerError, JuliaError, RankLost) as error:
        state = _save_at_the_end(loop, "failed", str(error))
        with contextlib.suppress(PynodeError):  # it must not hide what happened
            _summarise(loop, status="failed", error=str(error))
        error.args = (f"{config.label}, iteration {loop.progress.iteration}: {error} ({state}; see {directory})",)
        raise
    except StorageError as error:
        # what is in memory may be ahead of the records, so it is not saved: the last checkpoint stands
        error.args = (f"{config.label}, iteration {loop.progress.iteration}: {_can_go_on(error, directory)}",)
        raise
    return _finish(loop, warmup)


def _finish(loop: Loop, warmup: float) -> dict[str, Any]:
    """Evaluates the best weights and writes the summary."""
    loop.model.set_theta(loop.best)
    try:
        with loop.stop.interruptible():
            evaluation = loop.problem.evaluate(loop.model, loop.method)
    except (SolveError, WorkerError, JuliaError) as error:  # the training is whole; its summary says so
        more: dict[str, Any] = {"evaluation_failure": str(error)}
    except KeyboardInterrupt as error:
        raise _stopped(loop, error, saved=True) from None
    except RankLost as error:
        error.args = (f"{loop.config.label}, trained to its end and saved: {error}",)
        raise
    else:
        if loop.world.is_writer:
            write_json(loop.directory / EVALUATION, evaluation, indent=None)
        more = dict(evaluation.metrics)
    return _summarise(loop, status="finished", warmup_seconds=warmup, **more)


def _summarise(loop: Loop, **more: Any) -> dict[str, Any]:
    if not loop.world.is_writer:
        return {"iterations": loop.progress.iteration, **more}
    summary = summarise(loop.config, loop.directory, loop.progress, **more)
    write_json(loop.directory / SUMMARY, summary)
    return summary


def _forget_ends(directory: Path) -> None:
    """Removes what a shorter or a failed run said at its end, now that it goes on."""
    for stale in (SUMMARY, EVALUATION):
        remove(directory / stale)


def _interrupted(loop: Loop, error: KeyboardInterrupt) -> Interrupted:
    """Saves, where weights and records are in step, and says so."""
    saved = isinstance(error, Interrupted) and _save_at_the_end(loop, "interrupted", str(error)) == SAVED
    return _stopped(loop, error, saved=saved)


def _stopped(loop: Loop, error: KeyboardInterrupt, *, saved: bool) -> Interrupted:
    number = error.signal_number if isinstance(error, Interrupted) else int(signal.SIGINT)
    where = f"{loop.config.label} before iteration {loop.progress.iteration}"
    rest = "saved: --resume continues there" if saved else "--resume continues from the last checkpoint"
    return Interrupted(number, f"interrupted in {where}; {rest}")


def _can_go_on(error: StorageError, directory: Path) -> str:
    """What can't be written and why, and whether what was written before is there to go on from."""
    if not directory.is_dir():
        return f"can't write {error.path}: {error.reason}; the directory of the run is gone"
    return (
        f"can't write {error.path}: {error.reason}; what was written before is intact: {error.remedy}, then run again "
        "with --resume"
    )


def _save_at_the_end(loop: Loop, event: str, detail: str) -> str:
    """Saves the present state, whatever else has failed, and says what there is now."""
    if not loop.world.is_writer:
        return "what the first rank has saved stands"
    try:
        loop.save()
        note(loop.directory, event, loop.progress.iteration, detail)
    except PynodeError:
        return LAST_STANDS if (loop.directory / checkpoint.NAME).exists() else "nothing could be saved"
    return SAVED
