"""From a problem, a method and what a user wants otherwise to the configuration of a run: the study's settings beside.

Heavy imports happen inside the functions, so that the command line can start without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynode.datasets.sources import file_digest
from pynode.errors import InvalidArgument
from pynode.fields import FIELDS
from pynode.outside_members import absolute_path
from pynode.problems import PROBLEMS
from pynode.settings.known import check_options, check_settings
from pynode.settings.known import method_options as known_options
from pynode.training.data import DATA, SHA256
from pynode.training.origins import FIELD

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod
    from pynode.problems.base import Problem
    from pynode.training.config import RunConfig
    from pynode.training.schedules import Multilevel


def check_available(methods: Iterable[GradientMethod]) -> None:
    """Raises a `UsageError` where one of `methods` can't run on this machine, such as `JuliaUnavailable`."""
    for method in {(type(method), method.engine_name): method for method in methods}.values():
        method.check_available()


def configure(
    kind: type[Problem],
    method: GradientMethod,
    *,
    multilevel: Multilevel | None = None,
    problem_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RunConfig:
    """The run of the problem `kind` by `method`; `settings` are fields of `RunConfig`, None for the study's value."""
    from pynode.problems.base import options_from_json
    from pynode.training.config import RunConfig

    given = options_from_json(kind, problem_options or {})
    changed = {f.name: getattr(given, f.name) for f in fields(given) if getattr(given, f.name) != f.default}
    if isinstance(field := changed.get(FIELD), str):
        changed[FIELD] = FIELDS.name_of(field)
    if isinstance(data := changed.get(DATA), str):
        changed[DATA] = absolute_path(data)
        if SHA256 in {f.name for f in fields(given)} and SHA256 not in changed and Path(data).is_file():
            changed[SHA256] = file_digest(Path(data)).hexadecimal
    of_study = {f.name: getattr(kind.training, f.name) for f in fields(kind.training)}
    chosen = {name: value for name, value in settings.items() if value is not None}
    return RunConfig(problem=kind.name, method=method, multilevel=multilevel, options=changed, **(of_study | chosen))


def plan(
    problem: str,
    methods: list[str],
    seeds: list[int],
    method_options: Mapping[str, Any],
    *,
    multilevel: Multilevel | None = None,
    problem_options: Mapping[str, Any] | None = None,
    available: bool = True,
    **settings: Any,
) -> list[RunConfig]:
    """One configuration per method and seed; every mistake in the options is found here.

    `settings` are fields of `RunConfig`, None for the study's value.  With `multilevel` each method with steps that is
    exact for them runs twice: as it is, and by levels.  Where the options are right, and unless `available` is False,
    raises as `check_available` does for methods that can't run on this machine.
    """
    PROBLEMS.check(problem)
    check_options(methods, method_options)  # mistakes are told before the seconds that importing torch takes
    check_settings(settings)

    from pynode.gradients import Discrete
    from pynode.training.config import default_method
    from pynode.training.machine import check_size

    kind = PROBLEMS.load(problem)
    chosen = [
        default_method(kind, name, **{k: v for k, v in method_options.items() if k in known_options(name)})
        for name in methods
    ]
    levels: list[tuple[GradientMethod, Multilevel | None]] = [(method, None) for method in chosen]
    if multilevel is not None:
        fixed = [method for method in chosen if isinstance(method.recipe.gradient, Discrete)]
        if not fixed:
            raise InvalidArgument("--multilevel", multilevel.steps, "no method with steps", "add disc-opt to --methods")
        levels += [(method, multilevel) for method in fixed]
    planned = [
        configure(kind, method, multilevel=plan_of_levels, problem_options=problem_options, seed=seed, **settings)
        for method, plan_of_levels in levels
        for seed in seeds
    ]
    posed = planned[0].make_problem()
    posed.check()
    for run in planned:
        finest = run.method if run.multilevel is None else run.multilevel.method(run.method, -1)
        check_size(posed, finest)
    if available:
        check_available(chosen)
    return planned
