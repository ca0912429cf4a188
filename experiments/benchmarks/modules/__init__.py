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
)
"""All modules, in the order of a report."""

COMPILED = ("spiral", "concatsquash", "residual", "lotka-volterra")
"""The modules of torch.compile, which takes tens of seconds for each of them."""

DIFFRAX = ("spiral", "concatsquash", "residual")
"""The modules of diffrax, which takes several seconds for each of them and each batch size."""


def few(program: str, entered: tuple[str, ...]) -> str:
    """Why a program is not entered for the other modules."""
    return f"{program} is entered for {len(entered)} of {len(NAMES)} modules, since it compiles for seconds"
