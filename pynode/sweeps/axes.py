"""The axes that a grid may have, and what each of them sets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pynode.errors import InvalidArgument, UnknownName
from pynode.fields import FIELDS
from pynode.methods import METHODS
from pynode.outside_members import absolute_path
from pynode.problems import PROBLEMS
from pynode.settings.declared import Declared, Kind
from pynode.settings.known import SHORT, compared, method_options, owners, problem_options, run_settings, sources
from pynode.settings.values import shown, values_of
from pynode.sweeps.cells import SweepError
from pynode.training.origins import FIELD

TEXT, WHOLE = Kind(frozenset({str})), Kind(frozenset({int}))

DATA = "data"
"""The option of problems that is a path."""

MEMBERS = ("problem", "method", "seed")
"""The axes that every cell has."""


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
        members = dict(zip(MEMBERS, (self.problems, self.methods, self.seeds), strict=True))
        return {**members, **self.settings, **self.of_methods, **options}


def check_axes(given: Mapping[str, Any]) -> Axes:
    """The axes called `problem`, `method`, `seed`, by names of options and settings, and `set.NAME`.

    Raises `UnknownName` (with the nearest match) for an axis, problem, method or word that there is not,
    `InvalidArgument` for a value of another type, an empty axis, or one without effect on any cell, `SweepError`
    without a problem.
    """
    given = {_full(name): values for name, values in given.items()}
    if "problem" not in given:
        raise SweepError('the grid names no problem; add problem = "spiral" to the file, or --grid problem=spiral')
    problems = [PROBLEMS.name_of(name) for name in values_of("problem", given["problem"], TEXT)]
    methods = [METHODS.name_of(name) for name in values_of("method", given.get("method", compared()), TEXT)]
    of_problem = {name: problem_options(name) for name in problems}
    of_method = {name: method_options(name) for name in methods}
    settings, every_option = run_settings(), owners(dict.fromkeys((*sources(METHODS), *methods)))

    parts: dict[str, dict[str, list[Any]]] = {"settings": {}, "of_methods": {}, "of_problems": {}}
    for axis, values in given.items():
        option = axis.removeprefix("set.").replace("-", "_")
        if axis in MEMBERS:
            continue
        if axis in settings:
            parts["settings"][axis] = values_of(axis, values, settings[axis].kind)
        elif axis in every_option:
            parts["of_methods"][axis] = _option(axis, axis, values, of_method, "add a method that has it")
        elif axis.startswith("set."):
            _check_option(option, values, of_problem)
            listed = _option(axis, option, values, of_problem, "")
            parts["of_problems"][option] = [_plain(option, value) for value in listed]
        else:
            known = {f"set.{name}" for options in of_problem.values() for name in options}
            raise _unknown(axis, [*MEMBERS, *settings, *sorted(every_option), *sorted(known)])
    return Axes(problems, methods, values_of("seed", given.get("seed", [0]), WHOLE), **parts)


def _full(axis: str) -> str:
    """The axis that is meant by its name or by another one of it."""
    return next((name for name, others in SHORT.items() if axis in others), axis)


def _option(
    axis: str, option: str, values: Any, declared: Mapping[str, Mapping[str, Declared]], remedy: str
) -> list[Any]:
    """The values of an option that one of the owners in `declared` must have, and that each of them can take."""
    kinds = [options[option].kind for options in declared.values() if option in options]
    if not kinds:
        raise InvalidArgument(axis, shown(values), f"no effect on {', '.join(declared)}", f"drop it, or {remedy}")
    typed = [values_of(axis, values, kind) for kind in kinds]  # each owner can take them
    return typed[0]


def _plain(option: str, value: Any) -> Any:
    """A value as it means the same from every folder: a worker, or a resumed sweep, may be in another."""
    if option == DATA:
        return absolute_path(value)
    return FIELDS.name_of(value) if option == FIELD else value


def _check_option(option: str, values: Any, declared: Mapping[str, Mapping[str, Declared]]) -> None:
    if not any(option in known for known in declared.values()):
        known = sorted({name for options in declared.values() for name in options})
        if not known:
            problems = ", ".join(declared)
            raise InvalidArgument(f"set.{option}", shown(values), f"no options in {problems}", "leave it out")
        raise UnknownName(f"option of {', '.join(declared)}", option, known)


def _unknown(axis: str, known: list[str]) -> UnknownName:
    """Says that `set.` is missing where that is the mistake."""
    names = list(dict.fromkeys(known))
    others = [name for name in names if name != f"set.{axis}"]
    if len(others) < len(names) and not difflib.get_close_matches(axis, others, n=1):
        return UnknownName("axis", axis, [f"set.{axis}", *others])
    return UnknownName("axis", axis, names)
