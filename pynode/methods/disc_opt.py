"""Disc-Opt: a fixed-step scheme, differentiated as the discrete program that it is (exact for the discrete loss)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pynode.checkpointing.reversal import Checkpointed, Steps, gradient
from pynode.checkpointing.revolve import smallest_budget
from pynode.engines import fused
from pynode.engines.choice import Engine, check_engine
from pynode.engines.direct import DirectSolve
from pynode.engines.kernels import Kernels
from pynode.errors import InvalidArgument
from pynode.evaluation import CountedField
from pynode.fields.base import System
from pynode.grid import TimeGrid, checked_steps
from pynode.methods.base import GradientMethod, check_choice, check_count, check_scheme
from pynode.rebuilding import Rebuilding, save, saved
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.transforms import is_transformed
from pynode.types import State, States, Times, VectorField


@dataclass(frozen=True)
class DiscOpt(GradientMethod):
    """Discretise, then optimise: backpropagation through a fixed-step solver.

    Also called discretise-then-optimise, the discrete adjoint, or direct backpropagation.  The gradient is that of the
    discretised loss, to rounding, however coarse the steps; what the steps do decide is how far the discrete loss is
    from the continuous one.  Cost is known beforehand: n_f = stages x steps, and one vector-Jacobian product each.

    `steps` is the number of equal steps in each output interval.  `memory="store"` keeps every stage for the backward
    pass; "recompute" keeps the state after each step and rebuilds the stages of one step at a time: the same gradient
    for one more sweep of evaluations (the study's NFE-B) and much less memory.  `ts` may want a gradient as well.

    "checkpoint" keeps at most `budget` of those states at a time and regains the others by advancing from one before,
    with the fewest steps that this can be done with: one sweep that rebuilds each step as it is reversed, and
    t(n, budget + 1) - (n - 1) steps more, where n is the number of all steps and t as in `checkpointing.revolve`.
    Without a `budget` it is the smallest, about sqrt(2 n), by which the backward pass evaluates no step more than twice
    (NFE-B below two sweeps).  Not counted in the budget: `y0` and the states at the output times, which are the
    caller's (and may be changed by the caller, so no output is advanced from), the state in work, and the stages of
    one step.

    Rebuilt steps are those of the solve: the field is what it was then, random draws (dropout) are repeated, and batch
    norm counts its statistics once.  The gradient has derivatives of any order, whatever the memory (for those the
    solve is repeated with all stages stored), and torch.func's transforms (vmap, grad, jacrev, jacfwd) can be applied,
    inside of which every stage is stored.

    `engine`: "fused" solves and differentiates in compiled kernels (the dense fields and their flows on the CPU),
    "eager" by torch operators (anything), "auto" chooses; both give the same numbers to rounding.  The kernels
    keep no checkpoints: torch operators do.

    Onken & Ruthotto 2020 (arXiv 2005.13420), sec. 3; Gholami, Keutzer & Biros 2019 (ANODE) for "recompute"; Griewank &
    Walther 2000 (ACM TOMS 26, algorithm 799) for "checkpoint".
    """

    name: ClassVar[str] = "disc-opt"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    scheme: Scheme = RK4
    steps: int | Sequence[int] = 1
    memory: Literal["store", "recompute", "checkpoint"] = "store"
    budget: int | None = None

    engine: Engine = "auto"

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        check_engine(self.engine)
        object.__setattr__(self, "steps", checked_steps(self.steps))
        check_choice("memory", self.memory, ("store", "recompute", "checkpoint"))
        if self.budget is not None:
            check_count("budget", self.budget)
            if self.memory != "checkpoint":
                problem = f"memory = '{self.memory}' stores no chosen number of states"
                raise InvalidArgument("budget", self.budget, problem, "use memory = 'checkpoint', or drop the budget")
        if self.memory == "checkpoint" and self.engine == "fused":
            remedy = "use memory = 'recompute', or engine eager or auto"
            raise InvalidArgument("engine", "'fused'", "the kernels keep no checkpoints", remedy)

    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        grid = self._grid(ts, stats)
        # inside a transform of torch.func the graph is the transform's own; it keeps every stage
        if self.memory != "store" and torch.is_grad_enabled() and not is_transformed():
            name = f"DiscOpt(memory={self.memory!r})"
            rebuilding = Rebuilding(f, y0, ts[0], params, method=name, replays=True)
            steps = Steps(f, self.scheme, grid, stats)
            # the stage times are inputs of the node only so that ts can get its gradient
            timing = grid.differentiable(self.scheme.c, ts, y0) if ts.requires_grad else (None, None)
            if self.memory == "recompute":
                return _Recompute.apply(steps, rebuilding, *timing, y0, *rebuilding.sources)
            budget = self.budget or smallest_budget(grid.n_steps, 2)
            return Checkpointed.apply(steps, rebuilding, budget, *timing, y0, *rebuilding.sources)
        out = self.scheme.solve(f, y0, grid, ts)
        if out.requires_grad:
            out.register_hook(_count_vjps(stats))
        return out

    def _transform_obstacle(self) -> None:
        return None  # a plain loop, which torch.func can follow

    @cached_property
    def _kernels(self) -> Kernels | None:
        # kernels know nothing of what a subclass, or a scheme's, does instead, and keep no checkpoints
        if type(self)._solve is not DiscOpt._solve or type(self.scheme) is not Scheme or self.memory == "checkpoint":
            return None
        memory: Literal["store", "recompute"] = "recompute" if self.memory == "recompute" else "store"

        def solve(system: System, field: VectorField, y0: State, ts: Times, stats: SolveStats) -> States:
            from pynode.engines.fused import op  # imports Numba

            return op.solve(system, self.scheme, self._grid(ts, stats), y0, memory, stats, field)

        def solve_directly(system: System, y0: State, ts: Times, stats: SolveStats) -> DirectSolve:
            from pynode.engines.fused import op

            return op.solve_directly(system, self.scheme, self._grid(ts, stats), y0, memory, stats)

        return Kernels(self.engine, fused.failure, solve, solve_directly, "use engine eager or auto")

    def _grid(self, ts: Times, stats: SolveStats) -> TimeGrid:
        """The steps, counted."""
        grid = TimeGrid.between(ts, self.steps)
        stats.forward.n_accepted = grid.n_steps
        return grid


def _count_vjps(stats: SolveStats) -> Any:
    def hook(grad: Tensor) -> None:  # autograd passes each evaluation once on its way back  # noqa: ARG001
        stats.backward.n_vjp += stats.forward.n_f

    return hook


class _Recompute(torch.autograd.Function):
    """The whole solve as one node that keeps step states and rebuilds the stages of a step when their turn comes."""

    @staticmethod
    def forward(
        ctx: Any,
        steps: Steps,
        rebuilding: Rebuilding,
        times: Tensor | None,
        sizes: Tensor | None,
        y0: State,
        *sources: Tensor,  # noqa: ARG004 (inputs of the node, so that they get their gradients)
    ) -> States:
        f, scheme, grid, _ = steps
        states = y0.new_empty((grid.n_steps + 1, *y0.shape))
        for i, y in enumerate(rebuilding.recording(scheme.walk(f, y0, grid))):
            states[i] = y
        ctx.steps = steps
        rebuilding.settle(grid.output_times[-1], states[-1])
        save(ctx, rebuilding, times, sizes, states[:-1])
        return states[list(grid.output_indices)]

    @staticmethod
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        rebuilding, (times, sizes, states) = saved(ctx)

        def backwards() -> Iterator[State]:
            return (states[i] for i in reversed(range(len(states))))

        return None, None, *gradient(ctx.steps, rebuilding, backwards, (times, sizes), cotangents)
