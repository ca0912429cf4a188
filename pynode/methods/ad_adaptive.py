"""AD through the adaptive solver: neither the exact discrete gradient nor the continuous adjoint; for the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torchdiffeq
from torch import Tensor

from pynode.adaptive import ADAPTIVE_SOLVERS, AdaptiveWatch, forward_options
from pynode.evaluation import CountedField
from pynode.methods.base import GradientMethod, check_choice, check_count, check_tolerance
from pynode.solution import Cost, SolveStats
from pynode.types import State, States, Times


@dataclass(frozen=True)
class AdaptiveAD(GradientMethod):
    """Backpropagation through the steps that an adaptive solver happened to take.

    What comes out is the derivative along the accepted steps with their sizes held fixed (all but the first, whose
    automatic choice torchdiffeq does differentiate).  The loss as a function of theta also changes through the step
    sizes, so this is not the gradient of the computed loss; nor is it the continuous adjoint.  It tends to the true
    gradient with the tolerance.  Memory grows with the number of steps, rejected ones included while they are tried;
    `max_steps` bounds them.
    """

    name: ClassVar[str] = "ad-adaptive"
    backend: ClassVar[str] = "torchdiffeq"
    adaptive: ClassVar[bool] = True

    solver: str = "dopri5"
    rtol: float = 1e-7
    atol: float = 1e-9
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, ADAPTIVE_SOLVERS)
        check_count("max_steps", self.max_steps)
        check_tolerance("rtol", self.rtol)
        check_tolerance("atol", self.atol)

    def _solve(
        self,
        f: CountedField,
        y0: State,
        ts: Times,
        params: tuple[Tensor, ...],  # noqa: ARG002 (autograd finds them by itself)
        stats: SolveStats,
    ) -> States:
        watch = AdaptiveWatch(_CountingProducts(f, stats.backward), stats, self.max_steps, end=float(ts[-1].detach()))
        options = forward_options(self.solver, ts)
        return torchdiffeq.odeint(
            watch, y0, ts.clone(), method=self.solver, rtol=self.rtol, atol=self.atol, options=options
        )


class _CountingProducts(CountedField):
    """Counts a product whenever autograd comes back through an evaluation: only accepted steps are in the graph."""

    def __init__(self, f: CountedField, backward: Cost) -> None:
        super().__init__(f.f, f.cost)
        self._backward = backward

    def __call__(self, t: Tensor, y: State) -> State:
        dy = super().__call__(t, y)
        if dy.requires_grad:
            dy.register_hook(self._count)
        return dy

    def _count(self, grad: Tensor) -> None:  # noqa: ARG002
        self._backward.n_vjp += 1
