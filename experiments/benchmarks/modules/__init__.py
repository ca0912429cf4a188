"""Vector fields that the suite `own-modules` measures: `in_torch` as a user writes them, `in_jax` the same nets."""

from __future__ import annotations

NAMES = (
    "spiral",
    "concatenated-time",
    "embedded-time",
    "concatsquash",
    "hyper",
    "residual",
    "weight-norm",
    "antisymmetric",
    "hamiltonian",
    "second-order",
    "lotka-volterra",
    "gru",
    "mixture",
    "periodic",
    "deep",
)
"""All modules, in the order of a report."""

FEW = ("spiral", "concatsquash", "residual", "second-order", "lotka-volterra")
"""The modules of programs whose compilation takes many seconds a module."""


def few(program: str) -> str:
    """Why a program is not entered for the other modules."""
    return f"{program} is entered for {len(FEW)} of {len(NAMES)} modules, since it compiles for seconds"
