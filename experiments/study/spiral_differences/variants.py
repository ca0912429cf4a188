"""The variants: what the spiral is trained with, one thing changed at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch import Tensor, nn

from experiments.study.spiral_differences.authors import initial_theta
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.series.spiral import A, Spiral
from pynode.types import State, States, Theta, Times

METHODS = ("disc-opt", "opt-disc")

PERTURBATION = 1e-7
"""Relative change of the authors' weights from seed to seed: the size of a rounding error of Float32."""


@dataclass(frozen=True)
class Variant:
    """One way to train the spiral.

    `change` says how it differs from the variant `of`.  `data` is "exact" (tolerances 1e-13), or from a solve at 1e-3
    and 1e-6 by "dopri5" or "tsit5"; `aligned` whether Disc-Opt steps to the times of the data; `authors` whether seed 0
    has the authors' initial weights, and other seeds these with a perturbation of 1e-7; `single` whether weights,
    gradients and the moments of Adam are rounded to Float32.
    """

    name: str
    change: str
    of: str = "faithful"
    data: str = "dopri5"
    aligned: bool = False
    solver: str = "dopri5"
    adjoint: str = "backsolve"
    adjoint_rtol: float | None = None
    adjoint_atol: float | None = None
    authors: bool = False
    single: bool = False
    rate: float = 0.1

    def method(self, name: str) -> GradientMethod:
        """The gradient method called `name`, at the study's settings."""
        if name == "disc-opt":
            return DiscOpt()
        return OptDisc(
            solver=self.solver,
            rtol=1e-7,
            atol=1e-9,
            adjoint=self.adjoint,  # type: ignore[arg-type]
            adjoint_rtol=self.adjoint_rtol,
            adjoint_atol=self.adjoint_atol,
            max_steps=100_000,
            drift="ignore",  # it is recorded
        )

    def times(self, problem: Spiral, method: GradientMethod) -> Times:
        """The times whose states are compared with the data."""
        return problem.times if self.aligned or method.adaptive else problem.misaligned_times

    def states(self, problem: Spiral) -> States:
        """The data `(time, 2)`."""
        if self.data == "exact":
            return Spiral().data
        return problem.data if self.data == "dopri5" else _by_tsit5(problem)

    def weights(self, problem: Spiral, seed: int) -> Theta:
        """The initial weights `(n_params,)`."""
        if not self.authors:
            return problem.field_spec.initial_theta(seed)
        theta = initial_theta(problem.field_spec)  # type: ignore[arg-type]
        if seed == 0:
            return theta
        noise = torch.randn(theta.shape, generator=torch.Generator().manual_seed(seed), dtype=theta.dtype)
        return theta * (1 + PERTURBATION * noise)


FAITHFUL = Variant("faithful", "pynode's `compare spiral --faithful`")
AS_AUTHORS = Variant(
    "as-authors",
    "the authors' initial weights, Float32 weights, Tsit5, and data by Tsit5",
    data="tsit5",
    solver="tsit5",
    authors=True,
    single=True,
)

VARIANTS = {
    variant.name: variant
    for variant in (
        FAITHFUL,
        replace(FAITHFUL, name="aligned", change="Disc-Opt steps to the times of the data", aligned=True),
        replace(FAITHFUL, name="exact-data", change="data solved to 1e-13", data="exact"),
        replace(FAITHFUL, name="tsit5-data", change="loose data by Tsit5, as Julia's", data="tsit5"),
        replace(FAITHFUL, name="tsit5", change="Opt-Disc solves by Tsit5", solver="tsit5"),
        replace(FAITHFUL, name="float32", change="weights, gradients and Adam in Float32", single=True),
        replace(
            FAITHFUL,
            name="loose-adjoint",
            change="backward solve at 1e-3 / 1e-6",
            adjoint_rtol=1e-3,
            adjoint_atol=1e-6,
        ),
        replace(FAITHFUL, name="interpolating", change="adjoint on the stored solution", adjoint="interpolating"),
        replace(FAITHFUL, name="rate-0.05", change="half the learning rate", rate=0.05),
        replace(FAITHFUL, name="authors-weights", change="initial weights of the authors' seed", authors=True),
        AS_AUTHORS,
        replace(
            AS_AUTHORS,
            name="as-authors-aligned",
            change="Disc-Opt steps to the times of the data",
            of="as-authors",
            aligned=True,
        ),
        replace(
            AS_AUTHORS,
            name="as-authors-double",
            change="weights, gradients and Adam in Float64",
            of="as-authors",
            single=False,
        ),
    )
}


ONE_THING = dict.fromkeys(("adjoint_rtol", "adjoint_atol"), "adjoint tolerances")
"""Entries of a variant that are one thing together, by its name."""


def changes(variant: Variant) -> set[str]:
    """What a variant has otherwise than the one that it is `of`."""
    names = [f.name for f in fields(Variant) if f.name not in ("name", "change", "of")]
    before = VARIANTS[variant.of]
    return {ONE_THING.get(name, name) for name in names if getattr(variant, name) != getattr(before, name)}


def single_changes() -> list[str]:
    """The variants that differ from `faithful` in one thing."""
    return [v.name for v in VARIANTS.values() if v.of == FAITHFUL.name and len(changes(v)) == 1]


class _TrueField(nn.Module):
    """du/dt = A^T u^3."""

    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(A))

    def forward(self, t: Tensor, u: State) -> State:  # noqa: ARG002 (autonomous)
        return u**3 @ self.matrix


@cache
def _true_field() -> _TrueField:
    return _TrueField()


def _by_tsit5(problem: Spiral) -> States:
    """The data from a solve by Tsit5 at 1e-3 and 1e-6, the defaults of DifferentialEquations.jl."""
    loose = OptDisc(solver="tsit5", rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        return loose.solve(_true_field(), problem.y0, problem.times).ys
