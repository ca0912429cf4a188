"""Disc-Opt: a fixed-step scheme, differentiated as the discrete program that it is (exact for the discrete loss)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pynode.evaluation import CountedField, check_closure
from pynode.gradients.base import GradientMethod, check_choice, check_scheme
from pynode.grid import TimeGrid, checked_steps
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.types import State, States, Times


@dataclass(frozen=True)
class DiscOpt(GradientMethod):
    """Discretise, then optimise: backpropagation through a fixed-step solver.

    Also called discretise-then-optimise, the discrete adjoint, or direct backpropagation.  The gradient is that of the
    discretised loss, to rounding, however coarse the steps; what the steps do decide is how far the discrete loss is
    from the continuous one.  Cost is known beforehand: n_f = stages x steps, and one vector-Jacobian product each.

    `steps` is the number of equal steps in each output interval.  `memory="store"` keeps every stage for the backward
    pass; "recompute" keeps the state after each step and rebuilds the stages of one step at a time: the same gradient
    for one more sweep of evaluations (the study's NFE-B) and much less memory.  `ts` may want a gradient as well.

    Onken & Ruthotto 2020 (arXiv 2005.13420), sec. 3; Gholami, Keutzer & Biros 2019 (ANODE) for "recompute".
    """

    name: ClassVar[str] = "disc-opt"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    scheme: Scheme = RK4
    steps: int | Sequence[int] = 1
    memory: Literal["store", "recompute"] = "store"

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        object.__setattr__(self, "steps", checked_steps(self.steps))
        check_choice("memory", self.memory, ("store", "recompute"))

    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        grid = TimeGrid.between(ts, self.steps)
        stats.forward.n_accepted = grid.n_steps
        if self.memory == "recompute" and torch.is_grad_enabled():
            check_closure(f, y0, ts, params)
            # the stage times are inputs of the node only so that ts can get its gradient
            timing = grid.differentiable(self.scheme.c, ts, y0) if ts.requires_grad else (None, None)
            return _Recompute.apply(f, self.scheme, grid, stats, *timing, y0, *params)
        out = self.scheme.solve(f, y0, grid, ts)
        if out.requires_grad:
            out.register_hook(_count_vjps(stats))
        return out


def _count_vjps(stats: SolveStats) -> Any:
    def hook(grad: Tensor) -> None:  # autograd passes each evaluation once on its way back  # noqa: ARG001
        stats.backward.n_vjp += stats.forward.n_f

    return hook


class _Recompute(torch.autograd.Function):
    """The whole solve as one node that keeps step states and rebuilds the stages of a step when their turn comes."""

    @staticmethod
    def forward(
        ctx: Any,
        f: CountedField,
        scheme: Scheme,
        grid: TimeGrid,
        stats: SolveStats,
        times: Tensor | None,
        sizes: Tensor | None,
        y0: State,
        *params: Tensor,
    ) -> States:
        states = scheme.trajectory(f, y0, grid)
        ctx.f, ctx.scheme, ctx.grid, ctx.stats = f, scheme, grid, stats
        ctx.save_for_backward(times, sizes, states[:-1], *params)
        return states[list(grid.output_indices)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        times, sizes, states, *params = ctx.saved_tensors
        f, scheme, stats = ctx.f, ctx.scheme, ctx.stats
        output_of = {index: k for k, index in enumerate(ctx.grid.output_indices)}
        schedule = list(ctx.grid.schedule(scheme.c, states))
        by_params: list[Tensor | None] = [None] * len(params)
        by_times = None if times is None else torch.zeros_like(times)
        by_sizes = None if sizes is None else torch.zeros_like(sizes)
        adjoint = cotangents[-1]
        with f.counting_into(stats.backward):
            for i in reversed(range(len(states))):
                row, h = schedule[i]
                timing = []
                with torch.enable_grad():
                    y = states[i].detach().requires_grad_()
                    if times is not None:
                        timing = [times[i].detach().requires_grad_(), sizes[i].detach().requires_grad_()]
                        row, h = timing[0].unbind(), timing[1]
                    y_next = scheme.step(f, y, row, h)
                sources = [y, *timing, *params]
                found = torch.autograd.grad(y_next, sources, adjoint, allow_unused=True, materialize_grads=True)
                stats.backward.n_vjp += scheme.n_stages
                adjoint = found[0]
                if by_times is not None and by_sizes is not None:
                    by_times[i], by_sizes[i] = found[1], found[2]
                _accumulate(by_params, found[len(sources) - len(params) :])
                if i in output_of:
                    adjoint = adjoint + cotangents[output_of[i]]
        return (None, None, None, None, by_times, by_sizes, adjoint, *by_params)


def _accumulate(total: list[Tensor | None], part: Iterable[Tensor]) -> None:
    for j, g in enumerate(part):
        seen = total[j]
        total[j] = g.clone() if seen is None else seen.add_(g)
