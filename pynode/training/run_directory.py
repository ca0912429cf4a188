"""The directory of a run: which of its files are intact, and where a resumed run starts.

A resumed run starts from the last intact checkpoint; the iterations after it are computed again.  Damaged files are
renamed, never deleted, and each such step is an event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pynode.engines.choice import AUTO
from pynode.errors import CheckpointMismatch, ConfigurationMismatch, OutputDirectoryError, RecordError, StorageError
from pynode.records.content import is_there
from pynode.records.events import EVENTS, note
from pynode.records.files import (
    append_text,
    check_appendable,
    end_line,
    free_name,
    read_intact_lines,
    read_json,
    remove,
    rename,
    write_json,
    write_lines,
)
from pynode.records.iteration import IterationRecord
from pynode.records.run_files import CONFIG, EVALUATION, SUMMARY, read_evaluation, read_summary
from pynode.records.run_files import ENVIRONMENT as ENVIRONMENT
from pynode.records.runs import RECORDS, in_order, records_of
from pynode.training import checkpoint
from pynode.training.checkpoint import Checkpoint
from pynode.training.config import RunConfig, recorded_config
from pynode.training.data import DATA
from pynode.training.machine import environment
from pynode.training.origins import changed_members
from pynode.training.progress import FinishingProgress
from pynode.training.weights import FINISHING

_log = logging.getLogger("pynode")

DAMAGED = "records.damaged"
"""Lines of records that can't be read, kept for whoever wants to mend them."""
LEFT = "records.left"
"""Records of a run whose checkpoints are gone."""
FILES = (
    *(CONFIG, ENVIRONMENT, SUMMARY, EVALUATION, EVENTS, DAMAGED, LEFT),
    *(RECORDS, f"{RECORDS}.gz", checkpoint.NAME, checkpoint.PREVIOUS),
)
"""All files that a run reads or writes in its directory."""


@dataclass(frozen=True)
class Start:
    """Where a run begins: its summary if there is nothing left to do, else its last good checkpoint, if any.

    `config` is what it goes on with: where the engine was left open, the one that it was begun on.
    """

    config: RunConfig
    finished: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None


def holds_run(directory: Path) -> bool:
    """Whether anything of a run is there, whatever has been lost of it."""
    files = (CONFIG, RECORDS, f"{RECORDS}.gz", checkpoint.NAME, checkpoint.PREVIOUS)
    return any(is_there(directory / name) for name in files)


def open_run(
    config: RunConfig,
    directory: Path,
    *,
    resume: bool,
    ranks: int = 1,
    check: Callable[[Checkpoint], object] | None = None,
    decide: Callable[[RunConfig], RunConfig] = lambda config: config,
    on_rows: Callable[[RunConfig], RunConfig] = lambda config: config,
) -> Start:
    """Makes `directory` ready for `config`: a new run, or one to go on with where `resume` says so.

    Everything is checked before anything is changed; `check` raises where a checkpoint can't be loaded.  `on_rows` adds
    the rows that the run is trained on, and raises where they are other ones than before.

    Raises `OutputDirectoryError` (it holds a run already), `ConfigurationMismatch` (of another configuration),
    `CheckpointMismatch` (a checkpoint of another run), `RecordError` (no checkpoint of it can be read).
    """
    if not holds_run(directory):
        config = decide(on_rows(config))
        _begin(config, directory, ranks)
        return Start(config)
    if not resume:
        raise OutputDirectoryError(
            f"--out {directory}: holds a run already; continue it with --resume, or choose another directory"
        )
    contents = _read(directory)
    changed = {} if contents.config is None else config.check_resumes(contents.config)
    if contents.config is not None:
        config = config.on_engine_of(contents.config)
        if config.decided_engine is None:  # the run is older than this field, or of another engine now
            config = replace(config, decided_engine=_engine_of_records(directory, config))
    summary = None if contents.damaged else finished(directory, config)
    if contents.config is not None:
        config = replace(config, data=contents.config.get("data", config.data))
    if summary is not None:
        try:
            _mend_finished(config, directory, contents, changed.get(DATA))
        except StorageError as error:  # the run needs no more work, and can be read as it is
            _log.warning("%s is finished and stays as it is: %s", directory, error)
        return Start(config, finished=summary)
    config = on_rows(config)
    for name, intact in zip(contents.names, contents.points, strict=True):
        _check_own(config, directory / name, intact, check)
    _note_damage(directory, contents)
    for name in contents.damaged:
        checkpoint.set_aside(directory, name, "damaged")
    point = cut(directory, contents.points, config.checkpoint_every, run=directory)
    at = 0 if point is None else point.iteration
    for name, change in changed.items():
        note(directory, "changed", at, f"{name}: {change}")
    config = decide(config)
    for change in changed_members(config.to_json(), contents.config or {}) if contents.config else ():
        note(directory, "changed member", at, change)
    note(directory, "resumed", at, "from the last checkpoint" if point else "from the beginning: no checkpoint yet")
    _begin(config, directory, ranks)
    return Start(config, checkpoint=point)


def _note_damage(directory: Path, contents: _Contents) -> None:
    end_line(directory / EVENTS)
    for detail in contents.wrong:
        note(directory, "damaged", 0, detail)


def _mend_finished(config: RunConfig, directory: Path, contents: _Contents, moved: str | None) -> None:
    """Writes the configuration of a finished run again where it could not be read, or where its file has `moved`."""
    if contents.wrong:
        _note_damage(directory, contents)
        write_json(directory / CONFIG, config.to_json())
    elif moved is not None and contents.config is not None:
        note(directory, "changed", config.iterations, f"{DATA}: {moved}")
        write_json(directory / CONFIG, {**contents.config, "options": config.to_json()["options"]})


def _engine_of_records(directory: Path, config: RunConfig) -> str | None:
    """The engine of the last iteration of a run whose configuration does not tell what "auto" has become."""
    path = records_of(directory)
    if config.method.engine_name != AUTO or not is_there(path):
        return None
    records, _ = read_intact_lines(path, IterationRecord)
    known = {engine.name for engine in config.method.engines}
    return next((r.engine for r in reversed(records) if r.engine in known), None)


def finished(directory: Path, config: RunConfig) -> dict[str, Any] | None:
    """The summary of a run that needs no more work; None also where its files are not as it says."""
    try:
        summary = read_summary(directory)
        end = summary["iterations"]
        enough = end >= config.iterations or summary.get("stopped_early", False)
        if summary["status"] != "finished" or not enough:
            return None
        records, damaged = read_intact_lines(records_of(directory), IterationRecord)
        if damaged or len(records) + summary.get("lost_records", 0) != end or not in_order(records, end):
            return None
        if not _is_whole(directory / FINISHING, summary.get("finishing_iterations")):
            return None
        if is_there(directory / EVALUATION):
            read_evaluation(directory)
    except RecordError:
        return None
    return summary


def _is_whole(folder: Path, iterations: int | None) -> bool:
    """Whether records and checkpoints of the stages after Adam are intact, of a run that had any."""
    if iterations is None:
        return True
    points, damaged = checkpoint.read_intact(folder, FinishingProgress.from_json)
    path = records_of(folder)
    records, lines = read_intact_lines(path, IterationRecord) if is_there(path) else ([], [])
    return bool(points) and not damaged and not lines and in_order(records, iterations)


@dataclass(frozen=True)
class _Contents:
    """The configuration that the run was started with, names and contents of its intact checkpoints, newest first, the
    names of damaged ones, and a sentence about each damaged file."""

    config: dict[str, Any] | None
    names: list[str]
    points: list[Checkpoint]
    damaged: list[str]
    wrong: list[str]


def _begin(config: RunConfig, directory: Path, ranks: int) -> None:
    """Writes the configuration, and one more entry about where the run happens."""
    write_json(directory / CONFIG, config.to_json())
    path = directory / ENVIRONMENT
    try:
        sessions = read_json(path) if is_there(path) else []
        if not isinstance(sessions, list):
            raise RecordError(f"{path} is no list of sessions")
    except RecordError as error:
        rename(path, free_name(path.with_suffix(".damaged")))
        note(directory, "damaged", 0, f"{error}; set aside")
        sessions = []
    here = environment(backend=config.method.ran_by)
    write_json(path, [*sessions, {**here, "ranks": ranks, "device": config.device}])


def _read(directory: Path) -> _Contents:
    """Reads without changing anything.

    Raises `RecordError` where there are checkpoints and none is intact, and for a file that is no regular one: that
    can't be read, renamed or written to without harm.
    """
    for name in FILES:
        check_appendable(directory / name)
    intact, damaged = checkpoint.read_intact(directory)
    if damaged and not intact:
        raise RecordError(f"{next(iter(damaged.values()))}; remove {directory} to train this run again")
    points = [point for _, point in intact]
    taken = {checkpoint.NAME: "the checkpoint before it is taken", checkpoint.PREVIOUS: "the newest is taken as it is"}
    wrong = [f"{error}; {taken[name]}" for name, error in damaged.items()]
    try:
        config: dict[str, Any] | None = recorded_config(directory)
    except RecordError as error:
        config = points[0].config if points else None
        wrong.append(f"{error}; {'the copy in the checkpoint' if config else 'the one given now'} is taken")
    return _Contents(config, [name for name, _ in intact], points, list(damaged), wrong)


def _check_own(config: RunConfig, path: Path, point: Checkpoint, check: Callable[[Checkpoint], object] | None) -> None:
    """Raises `CheckpointMismatch` where a checkpoint is of another run, or does not fit the model."""
    remedy = "nothing was changed: put the checkpoint of this run there, or delete it"
    try:
        if point.config is not None:
            config.check_resumes(point.config)
        if check is not None:
            check(point)
    except (ConfigurationMismatch, CheckpointMismatch) as error:
        raise CheckpointMismatch(f"{path} is not a checkpoint of this run ({error}); {remedy}") from error


def cut(directory: Path, points: list[Checkpoint], every: int, *, run: Path) -> Checkpoint | None:
    """Takes the newest of `points` before which all records in `directory` are there, and cuts off those beyond it.

    Where none has them all, the newest: lost records cost less than iterations.  `every`: iterations after which there
    must have been a checkpoint.  What is wrong is an event of `run`.
    """
    path, packed = directory / RECORDS, records_of(directory)
    records, damaged = read_intact_lines(packed, IterationRecord) if is_there(packed) else ([], [])
    by_iteration = {record.iteration: record for record in records}

    def missing(point: Checkpoint) -> list[int]:
        return [i for i in range(point.iteration) if i not in by_iteration]

    if damaged:
        append_text(directory / DAMAGED, "".join(f"{line}\n" for line in damaged))
        note(run, "damaged", 0, f"{len(damaged)} lines of {path} can't be read; they are now in {DAMAGED}")
    if not points and len(records) > every:
        write_lines(free_name(directory / LEFT), records)
        note(run, "lost checkpoint", 0, f"the {len(records)} records without one are kept as {LEFT}")
    whole = [point for point in points if not missing(point)]
    point = next(iter(whole or points), None)
    at = 0 if point is None else point.iteration
    if point is not None and not whole:
        lost = missing(point)
        note(run, "lost records", at, f"{len(lost)} of {at}, the first of iteration {lost[0]}; the run goes on")
    if whole and point is not points[0]:
        note(run, "went back", at, f"from iteration {points[0].iteration}: records before it are damaged")
        checkpoint.set_aside(directory, checkpoint.NAME, "unused")
    if is_there(packed):  # a torn line goes too, or the next one would be written behind it
        write_lines(path, [by_iteration[i] for i in sorted(by_iteration) if i < at])
    if packed != path:
        remove(packed)
    return point
