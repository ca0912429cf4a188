"""From options to runs: one configuration per method and seed, and their training one after another."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynode.errors import InvalidArgument, NonFiniteLoss, RecordError, SolveError, UnknownName

if TYPE_CHECKING:
    from rich.console import Console

    from pynode.gradients.base import GradientMethod
    from pynode.training.config import RunConfig
    from pynode.training.schedules import Multilevel


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


def check_available(methods: list[str]) -> None:
    """Raises `JuliaUnavailable` where one of `methods` can't run on this machine."""
    from pynode.gradients import METHODS

    for name in methods:
        METHODS.load(name).check_available()


def plan(
    problem: str,
    methods: list[str],
    seeds: list[int],
    method_options: dict[str, Any],
    *,
    iterations: int | None = None,
    learning_rate: float | None = None,
    faithful: bool = False,
    device: str = "cpu",
    dtype: str | None = None,
    validate_every: int | None = None,
    checkpoint_every: int = 50,
    patience: int | None = None,
    multilevel: Multilevel | None = None,
    problem_options: dict[str, Any] | None = None,
) -> list[RunConfig]:
    """One configuration per method and seed; every mistake in the options is found here.

    With `multilevel` each fixed-step method runs twice: as it is, and by levels.
    """
    from pynode.gradients import METHODS
    from pynode.problems import PROBLEMS
    from pynode.problems.base import options_from_json
    from pynode.training.config import RunConfig, default_method

    kind = PROBLEMS.load(problem)
    study = kind.training
    check_available(methods)
    known = {name: METHODS.load(name).option_names() for name in methods}
    for option, value in method_options.items():
        if not any(option in names for names in known.values()):
            raise InvalidArgument(
                f"--{option.replace('_', '-')}", value, f"no effect on {', '.join(methods)}", "drop it, or add a method"
            )
    chosen = [
        default_method(kind, name, **{k: v for k, v in method_options.items() if k in known[name]}) for name in methods
    ]
    given = options_from_json(kind, problem_options or {})
    changed = {f.name: getattr(given, f.name) for f in fields(given) if getattr(given, f.name) != f.default}
    levels: list[tuple[GradientMethod, Multilevel | None]] = [(method, None) for method in chosen]
    if multilevel is not None:
        fixed = [method for method in chosen if method.name in ("disc-opt", "disc-opt-julia")]
        if not fixed:
            raise InvalidArgument("--multilevel", multilevel.steps, "no method with steps", "add disc-opt to --methods")
        levels += [(method, multilevel) for method in fixed]
    planned = [
        RunConfig(
            problem=problem,
            method=method,
            multilevel=plan_of_levels,
            options=changed,
            rate_drops=study.rate_drops,
            patience=study.patience if patience is None else patience,
            seed=seed,
            iterations=study.iterations if iterations is None else iterations,
            learning_rate=study.learning_rate if learning_rate is None else learning_rate,
            weight_decay=study.weight_decay,
            dtype=study.dtype if dtype is None else dtype,
            device=device,
            faithful=faithful,
            validate_every=study.validate_every if validate_every is None else validate_every,
            checkpoint_every=checkpoint_every,
        )
        for method, plan_of_levels in levels
        for seed in seeds
    ]
    planned[0].make_problem().check()
    return planned


def train_all(configs: list[RunConfig], directory: Path, *, resume: bool, console: Console) -> list[str]:
    """Trains every configuration in `directory`/runs; a run that fails is recorded and the others go on."""
    from pynode.cli.progress import TrainingProgress
    from pynode.julia.errors import JuliaError, WorkerError
    from pynode.records.results import RUNS
    from pynode.training.trainer import train

    failures = []
    with TrainingProgress(console) as progress:
        for config in configs:
            progress.begin(config.label, config.iterations)
            try:
                train(config, directory / RUNS / config.label, resume=resume, listener=progress.advance)
            except (NonFiniteLoss, SolveError, RecordError, WorkerError, JuliaError) as error:
                failures.append(str(error))
    return failures
