"""The axes that a grid may have, and what each of them sets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from pynode.errors import InvalidArgument, UnknownName
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.sweeps.errors import SweepError
from pynode.sweeps.values import kinds_of, shown, values_of
from pynode.training.config import RunConfig

MEMBERS: dict[str, list[Any]] = {"method": ["disc-opt", "opt-disc"], "seed": [0]}
"""The axes that every cell has, beside its problem, and their values where a grid gives none."""

NOT_SETTINGS = ("problem", "method", "seed", "options", "multilevel", "rate_drops")
"""Fields of a `RunConfig` that are no axes, or axes of their own."""

DATA = "data"
"""The option of problems that is a path."""


@dataclass(frozen=True)
class Axes:
    """Values of every axis, checked; `settings` are fields of the run's configuration.

    `of_methods` and `of_problems` are options of methods and problems; what a method or problem does not have does not
    multiply its cells.
    """

    problems: list[str]
    methods: list[str]
    seeds: list[int]
    settings: Mapping[str, list[Any]]
    of_methods: Mapping[str, list[Any]]
    of_problems: Mapping[str, list[Any]]

    def to_json(self) -> dict[str, Any]:
        """All axes by the names that a user gives them."""
        options = {f"set.{name}": values for name, values in self.of_problems.items()}
        members = {"problem": self.problems, "method": self.methods, "seed": self.seeds}
        return {**members, **self.settings, **self.of_methods, **options}


def check_axes(given: Mapping[str, Any]) -> Axes:
    """The axes called `problem`, `method`, `seed`, by names of options and settings, and `set.NAME`.

    Raises `UnknownName` (with the nearest match) for an axis, problem or method that there is not, `InvalidArgument`
    for a value of another type, an empty axis, or one without effect on any cell, `SweepError` without a problem.
    """
    if "problem" not in given:
        raise SweepError('the grid names no problem; add problem = "spiral" to the file, or --grid problem=spiral')
    given = {**MEMBERS, **given}
    problems, methods = ([str(v) for v in values_of(name, given[name], str)] for name in ("problem", "method"))
    kinds = {name: PROBLEMS.load(name) for name in problems}
    ways = {name: METHODS.load(name) for name in methods}
    hints_of_problem = {name: get_type_hints(kind.Options) for name, kind in kinds.items()}
    hints_of_method = {name: _hints(way.option_names(), way) for name, way in ways.items()}
    every_option = {option for name in METHODS.names() for option in METHODS.load(name).option_names()}
    settings = {name: hint for name, hint in get_type_hints(RunConfig).items() if name in _setting_names()}

    parts: dict[str, dict[str, list[Any]]] = {"settings": {}, "of_methods": {}, "of_problems": {}}
    for axis, values in given.items():
        if axis in ("problem", "method", "seed"):
            continue
        if axis in settings:
            parts["settings"][axis] = values_of(axis, values, settings[axis])
        elif axis in every_option:
            parts["of_methods"][axis] = _option(axis, values, hints_of_method, "add a method that has it")
        elif axis.startswith("set."):
            option = axis.removeprefix("set.").replace("-", "_")
            _check_option(option, values, hints_of_problem)
            found = _option(axis, values, hints_of_problem, "", option)
            parts["of_problems"][option] = [_absolute(v) for v in found] if option == DATA else found
        else:
            raise _unknown(axis, [*given_names(settings, every_option), *_options(hints_of_problem)])
    seeds = values_of("seed", given["seed"], int)
    return Axes(problems, methods, seeds, **parts)


def given_names(settings: Mapping[str, Any], options: set[str]) -> list[str]:
    """Names of all axes that do not depend on the problem."""
    return ["problem", *MEMBERS, *settings, *sorted(options)]


def _setting_names() -> list[str]:
    plain = (bool, int, float, str)
    hints = get_type_hints(RunConfig)
    names = [f.name for f in fields(RunConfig) if f.name not in NOT_SETTINGS]
    return [name for name in names if kinds_of(hints[name]) & set(plain)]


def _hints(options: tuple[str, ...], owner: type) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(owner).items() if name in options}


def _option(
    axis: str, values: Any, hints: Mapping[str, Mapping[str, Any]], remedy: str, option: str | None = None
) -> list[Any]:
    """The values of an option that one of the owners in `hints` must have; who shares it shares its type."""
    owners = [known[option or axis] for known in hints.values() if (option or axis) in known]
    if not owners:
        raise InvalidArgument(axis, shown(values), f"no effect on {', '.join(hints)}", f"drop it, or {remedy}")
    return values_of(axis, values, owners[0])


def _absolute(path: str) -> str:
    """As it means the same from every folder: a worker, or a resumed sweep, may be in another."""
    return str(Path(path).expanduser().absolute())


def _check_option(option: str, values: Any, hints: Mapping[str, Mapping[str, Any]]) -> None:
    if not any(option in known for known in hints.values()):
        known = sorted({name for options in hints.values() for name in options})
        if not known:
            raise InvalidArgument(f"set.{option}", shown(values), f"no options in {', '.join(hints)}", "leave it out")
        raise UnknownName(f"option of {', '.join(hints)}", option, known)


def _options(hints: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted({f"set.{name}" for options in hints.values() for name in options})


def _unknown(axis: str, known: list[str]) -> UnknownName:
    """Says that `set.` is missing where that is the mistake."""
    names = list(dict.fromkeys(known))
    if f"set.{axis}" in names and not difflib.get_close_matches(axis, [n for n in names if n != f"set.{axis}"], n=1):
        return UnknownName("axis", axis, [f"set.{axis}", *[n for n in names if n != f"set.{axis}"]])
    return UnknownName("axis", axis, names)
