"""The pairs that adaptive methods name: ours, torchdiffeq's other names for them, and those that an engine keeps."""

from __future__ import annotations

from functools import lru_cache

from pynode.arguments import check_choice
from pynode.engines import ENGINES
from pynode.engines.choice import engine_called
from pynode.errors import InvalidArgument
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme
from pynode.solve import NamedScheme


def solvers() -> tuple[str, ...]:
    """Names of all pairs, by whatever engine."""
    return (*_pairs(), *_named())


def scheme_of(solver: str) -> Scheme | NamedScheme:
    """The pair called `solver`; raises `InvalidArgument` for an unknown name, with the nearest match."""
    if not isinstance(solver, str):
        raise _no_name(solver)
    pairs = _pairs()
    if solver in pairs:
        return pairs[solver]
    if solver in SCHEMES.names():
        remedy = f"use a pair such as dopri5, or DiscOpt with scheme = {solver}"
        raise InvalidArgument("solver", f"'{solver}'", "it estimates no error, which adaptive steps need", remedy)
    check_choice("solver", solver, solvers())
    return NamedScheme(solver)


def _no_name(given: object) -> InvalidArgument:
    shown, name = (f"scheme {given.name}", given.name) if isinstance(given, Scheme) else (repr(given), "dopri5")
    return InvalidArgument("solver", shown, "not the name of a solver", f"use e.g. '{name}'")


def solver_of(scheme: Scheme | NamedScheme) -> str:
    """The name by which `scheme_of` finds the pair."""
    return scheme.solver if isinstance(scheme, Scheme) else scheme.name


@lru_cache(maxsize=1)
def _pairs() -> dict[str, Scheme]:
    return {scheme.solver: scheme for scheme in SCHEMES.load_all().values() if scheme.pair is not None}


@lru_cache(maxsize=1)
def _named() -> tuple[str, ...]:
    """Solvers whose formula only an engine knows."""
    names = dict.fromkeys(name for engine in ENGINES.names() for name in engine_called(engine).solvers)
    return tuple(name for name in names if name not in _pairs())
