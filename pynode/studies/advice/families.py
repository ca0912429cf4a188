"""The settings among which advice chooses: families, each a ladder of accuracies, and variants of a chosen setting."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pynode.engines import AUTO
from pynode.engines.choice import automatic_engines, engine_called
from pynode.errors import UsageError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.schemes import SCHEMES
from pynode.studies.advice.search import STEPS, TOLERANCES

RTOL_OVER_ATOL = 100
"""The absolute tolerance is so many times smaller than the relative one, as in the study."""

BUDGETS = (2,)
"""States that a Disc-Opt keeps at a time where memory counts."""


@dataclass(frozen=True)
class Family:
    """Settings from the coarsest to the finest; `first` is where a search begins."""

    settings: tuple[GradientMethod, ...]
    first: int = 0
    stride: int = 4


def discrete(scheme: str) -> Family:
    """Disc-Opt by `scheme` over step counts."""
    return Family(tuple(DiscOpt(SCHEMES.load(scheme), n) for n in STEPS), 0, 3)


def continuous(solver: str = "dopri5", **options: Any) -> Family:
    """Opt-Disc by `solver` over tolerances."""
    made = tuple(OptDisc(solver, rtol=tol, atol=tol / RTOL_OVER_ATOL, **options) for tol in TOLERANCES)
    return Family(made, 2)


def first_families() -> list[Family]:
    """Families that are searched wherever they can run, the likeliest first."""
    return [
        discrete("rk4"),
        continuous("dopri5"),
        discrete("midpoint"),
        continuous("tsit5"),
        discrete("euler"),
        discrete("tsit5"),
        discrete("bosh3"),
    ]


def variants(solver: str, around: int) -> list[Family]:
    """Other adjoints, norms and landings of Opt-Disc by `solver`, searched from near the place `around` on."""
    first = max(0, around - 1)
    choices: list[dict[str, Any]] = [
        {"adjoint": "backsolve"},
        {"landing": True},
        {"adjoint_norm": "seminorm"},
        {"adjoint": "backsolve", "adjoint_norm": "seminorm"},
    ]
    return [replace(continuous(solver, **choice), first=first, stride=2) for choice in choices]


def with_less_memory(method: GradientMethod) -> list[GradientMethod]:
    """The same gradient with fewer states kept."""
    if not isinstance(method, DiscOpt) or method.memory != "store":
        return []
    made: list[GradientMethod] = []
    choices: list[dict[str, Any]] = [
        {"memory": "recompute"},
        *({"memory": "checkpoint", "budget": budget} for budget in BUDGETS),
    ]
    for choice in choices:
        with suppress(UsageError):  # an engine that does not have it
            made.append(replace(method, **choice))
    return made


def on_other_engines(method: GradientMethod, ran_by: str) -> list[GradientMethod]:
    """The same setting on the other engines of this machine that can run it."""
    others: list[GradientMethod] = []
    names = [engine.name for engine in automatic_engines() if engine.name != ran_by]
    if method.engine_name != AUTO:
        return []
    for name in names:
        try:
            engine_called(name).check_available()
            others.append(method.on_engine(name))
        except UsageError:
            continue
    return others


def in_julia(tolerances: Sequence[float]) -> list[GradientMethod]:
    """Opt-Disc by SciML at `tolerances`, where there is a Julia with its packages; none else."""
    try:
        OptDiscJulia().check_available()
    except UsageError:
        return []
    return [OptDiscJulia(rtol=tol, atol=tol / RTOL_OVER_ATOL) for tol in tolerances]
