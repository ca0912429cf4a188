"""Which methods take part in a cross-check: each at several accuracies and with every choice that must not matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pynode.engines.choice import automatic_engines
from pynode.errors import InvalidArgument, UsageError
from pynode.gradients import Discrete
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod
from pynode.schemes.base import Scheme
from pynode.studies.crosscheck.record import UNAVAILABLE, CrosscheckRecord

VARIED = ("adjoint", "memory", "adjoint_norm", "engine")
"""Options that must not change a gradient beyond its bound: every choice of theirs is tried."""


def unavailable(names: Iterable[str]) -> dict[str, str]:
    """Which of these methods can't run or can't be judged here, and why, with the remedy."""
    reasons = {}
    for name in names:
        kind = METHODS.load(name)
        needed = "rtol" if kind.adaptive else "steps"
        if needed not in kind.option_names():
            reasons[name] = f"it has no option {needed} to judge it by"
        try:
            kind().check_available()
        except UsageError as error:
            reasons[name] = str(error)
    return reasons


def not_available(name: str, reason: str, problem: str) -> CrosscheckRecord:
    """The record of a method that can't take part."""
    kind = METHODS.load(name)
    return CrosscheckRecord(problem, "", name, name, kind.backend, name, kind.adaptive, 0.0, UNAVAILABLE, reason)


def method_grid(
    names: Iterable[str], tolerances: Sequence[float], steps: Sequence[int], schemes: Sequence[Scheme]
) -> list[GradientMethod]:
    """Each method at each accuracy and each choice of `VARIED`; `schemes` are for the exact discrete gradients."""
    grid: list[GradientMethod] = []
    for name in names:
        kind: Any = METHODS.load(name)
        settings: list[dict[str, Any]] = [{"steps": n} for n in steps]
        if kind.adaptive:
            settings = [{"rtol": tol, "atol": tol / 100} for tol in tolerances]
        elif is_discrete(name):
            settings = [{"scheme": scheme, "steps": n} for scheme in schemes for n in steps]
        grid += [kind(**variant, **setting) for variant in _variants(kind) for setting in settings]
    return grid


def _variants(kind: type[GradientMethod]) -> list[dict[str, Any]]:
    """The default, then every other choice of the options in `VARIED`, one at a time."""
    hints = {k: v for k, v in get_type_hints(kind).items() if k in VARIED}
    choices = {k: get_args(hint) for k, hint in hints.items() if get_origin(hint) is Literal}
    if "engine" in hints:
        choices["engine"] = tuple(engine.name for engine in automatic_engines() if engine.fallback)
    variants: list[dict[str, Any]] = [{}]
    for option, values in choices.items():
        for value in values:
            with suppress(InvalidArgument):  # a choice of another engine's
                kind(**{option: value})
                variants += [{option: value}] if value != getattr(kind, option) else []
    return variants


def is_discrete(name: str) -> bool:
    """Whether a method gives the exact gradient of the discrete loss."""
    # what was recorded may be by a method that is not here
    return name in METHODS.names() and isinstance(METHODS.load(name)().recipe.gradient, Discrete)
