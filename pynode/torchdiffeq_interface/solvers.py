"""The solvers of the installed torchdiffeq: their names, and what each can do."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from torchdiffeq._impl.solvers import AdaptiveStepsizeODESolver, FixedGridODESolver


def known_methods() -> tuple[str, ...]:
    """Names of all solvers that the installed torchdiffeq has."""
    return tuple(_table())


def reports_steps(method: str | None) -> bool:
    """Whether the solver is adaptive and calls back before every step; None stands for torchdiffeq's default."""
    solver = _solver(method)
    return issubclass(solver, AdaptiveStepsizeODESolver) and "callback_step" in solver.valid_callbacks()


def has_fixed_steps(method: str | None) -> bool:
    """Whether the solver takes the steps that its options prescribe."""
    return issubclass(_solver(method), FixedGridODESolver)


def uses_tolerances(method: str | None) -> bool:
    """Whether `rtol` and `atol` change the result: a one-step method of fixed steps ignores them."""
    constructors = [vars(part)["__init__"] for part in _solver(method).__mro__[:-1] if "__init__" in vars(part)]
    takes_rtol = any("rtol" in inspect.signature(constructor).parameters for constructor in constructors)
    return takes_rtol or not has_fixed_steps(method)


def finds_events(method: str | None) -> bool:
    """Whether the solver can integrate until an event."""
    return hasattr(_solver(method), "integrate_until_event")


def _solver(method: str | None) -> Any:
    return _table()[method or "dopri5"]


def _table() -> dict[str, Any]:
    # looked up by name: the package's attribute `odeint` is the function, not this module
    return importlib.import_module("torchdiffeq._impl.odeint").SOLVERS
