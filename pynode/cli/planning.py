"""From options to runs: what `--set` says of problems, and the training of planned runs one after another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from pynode.outside_members import absolute_path, absolute_reference
from pynode.settings import known
from pynode.settings.values import from_text
from pynode.world import ALONE, World

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.training.config import RunConfig


def problem_options(problem: str, settings: Iterable[str] | None, data: Path | None = None) -> dict[str, Any]:
    """Values of `--set name=value ...` and `--data FILE` for `problem`, typed; raises `UsageError`."""
    options = known.problem_options(problem)
    given: dict[str, Any] = {}
    if data is not None:
        if "data" not in options:
            raise InvalidArgument("--data", data, f"{problem} brings its own data", "use the problem table")
        given["data"] = absolute_path(data)
        if data.is_file():  # what is no file is told when it is read
            given["sha256"] = _digest(data)
    for setting in settings or []:
        name, text = split_setting(setting)
        if name not in options:
            if not options:
                raise InvalidArgument("--set", repr(setting), f"{problem} takes no options", "leave it out")
            raise UnknownName(f"option of {problem}", name, sorted(options))
        if name in given:
            raise InvalidArgument("--set", repr(setting), f"{name} is given twice", "give it once")
        value = from_text(f"--set {name}", text, options[name].kind)
        given[name] = absolute_reference(value, "field") if name == "field" else value
        if name == "data":
            given[name] = absolute_path(value)
    return given


def options_of_each(problems: Iterable[str], settings: Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """Values of `--set` for each of `problems` that has the option; raises `UsageError` where none has it."""
    options = {problem: known.problem_options(problem) for problem in problems}
    given: dict[str, dict[str, Any]] = {problem: {} for problem in options}
    for setting in settings or []:
        name, _ = split_setting(setting)
        having = [problem for problem, declared in options.items() if name in declared]
        if not having:
            raise UnknownName(
                "option of these problems", name, sorted({n for known in options.values() for n in known})
            )
        for problem in having:
            given[problem] |= problem_options(problem, [setting])
    return given


def split_setting(setting: str) -> tuple[str, str]:
    """Name and value of `--set NAME=VALUE`; raises `InvalidArgument`."""
    name, equals, value = setting.partition("=")
    if not equals:
        raise InvalidArgument("--set", repr(setting), "no NAME=VALUE", "write e.g. --set batch=500")
    return name.strip().replace("-", "_"), value.strip()


def _digest(path: Path) -> str:
    from pynode.datasets.errors import DataError
    from pynode.datasets.sources import file_digest

    try:
        return file_digest(path).hexadecimal
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error


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
