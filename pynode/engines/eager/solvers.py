"""Which pairs torchdiffeq takes adaptive steps by."""

from __future__ import annotations

from pynode.engines.solvers import solver_of
from pynode.schemes.base import Scheme
from pynode.solving import NamedScheme

ADAPTIVE_SOLVERS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""torchdiffeq's adaptive Runge-Kutta solvers by its own names."""


def is_known(scheme: Scheme | NamedScheme) -> bool:
    """Whether torchdiffeq has a solver for the pair."""
    return isinstance(scheme, Scheme) and solver_of(scheme) in ADAPTIVE_SOLVERS
