"""Opt-Disc on a fixed grid: state and adjoint ODE each discretised by itself, so the gradient is off by O(h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from pynode.adjoint import check_cotangents, time_gradient
from pynode.errors import SolveError
from pynode.evaluation import CountedField
from pynode.grid import TimeGrid, checked_steps
from pynode.methods.base import GradientMethod, check_choice, check_scheme
from pynode.rebuilding import Rebuilding, save, saved
from pynode.schemes.base import Scheme
from pynode.schemes.euler import EULER
from pynode.second_derivatives import final
from pynode.solution import Cost, SolveStats, Status
from pynode.transforms import is_batched, one_by_one
from pynode.types import State, States, Times

DENSE_LIMIT = 64
"""Largest number of state entries for which backward Euler builds its matrix; GMRES beyond."""


@dataclass(frozen=True)
class OptDiscFixed(GradientMethod):
    """Optimise, then discretise, on the grid of the state: the textbook case of an inconsistent gradient.

    The state runs by `scheme`; then the adjoint ODE dl/dt = -(df/dy)^T l is discretised by itself on the same grid:

    - `adjoint="explicit"`: l_k = l_{k+1} + h J(z_{k+1})^T l_{k+1}, the Jacobian at the later point (explicit Euler
      backwards in time).  Disc-Opt's Euler has J(z_k) there: one index apart, an error of O(h);
    - `adjoint="backward-euler"`: (I - h J(z_k)^T) l_k = l_{k+1}, one linear solve a step from vector-Jacobian products
      alone: a dense matrix up to 64 state entries, GMRES beyond.  Also O(h), but stable however stiff the field.

    For studying what goes wrong, not for training.  Onken & Ruthotto 2020, sec. 2; Hager 2000 for schemes that commute.
    """

    name: ClassVar[str] = "opt-disc-fixed"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    scheme: Scheme = EULER
    steps: int | Sequence[int] = 1
    adjoint: Literal["explicit", "backward-euler"] = "explicit"

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        object.__setattr__(self, "steps", checked_steps(self.steps))
        check_choice("adjoint", self.adjoint, ("explicit", "backward-euler"))

    @property
    def family(self) -> str:
        return f"{super().family} {self.adjoint}"

    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        grid = TimeGrid.between(ts, self.steps)
        stats.forward.n_accepted = grid.n_steps
        if not torch.is_grad_enabled():
            return self.scheme.solve(f, y0, grid)
        rebuilding = Rebuilding(f, y0, ts[0], params, method=type(self).__name__)
        return _FixedAdjoint.apply(f, self, grid, stats, rebuilding, ts, y0, *rebuilding.sources)


class _FixedAdjoint(torch.autograd.Function):
    """Forward: states of all steps. Backward: the adjoint ODE on the same grid."""

    @staticmethod
    def forward(
        ctx: Any,
        f: CountedField,
        method: OptDiscFixed,
        grid: TimeGrid,
        stats: SolveStats,
        rebuilding: Rebuilding,
        ts: Times,
        y0: State,
        *sources: Tensor,  # noqa: ARG004 (inputs of the node, so that they get their gradients)
    ) -> States:
        states = method.scheme.trajectory(f, y0, grid)
        ctx.f, ctx.method, ctx.grid, ctx.stats = f, method, grid, stats
        rebuilding.settle(grid.output_times[-1], states[-1])
        save(ctx, rebuilding, ts, states)
        return states[list(grid.output_indices)]

    @staticmethod
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        rebuilding, (ts, states) = saved(ctx)
        originals = (cotangents, ts, rebuilding.origin, *rebuilding.sources)

        def solve(each: Tensor) -> tuple[Tensor | None, ...]:
            with torch.no_grad(), rebuilding.as_it_was() as leaves:
                return _FixedAdjoint._solve_adjoint(ctx, rebuilding, ts, states, leaves, each)

        found = one_by_one(solve, cotangents) if is_batched(cotangents) else solve(cotangents)
        return None, None, None, None, None, *final(found, originals, "OptDiscFixed")

    @staticmethod
    def _solve_adjoint(
        ctx: Any,
        rebuilding: Rebuilding,
        ts: Times,
        states: States,
        params: Sequence[Tensor],
        cotangents: States,
    ) -> tuple[Tensor | None, ...]:
        """The gradients by ts, y0 and `params`."""
        check_cotangents(ts, cotangents)
        f, grid, backward = ctx.f, ctx.grid, ctx.stats.backward
        implicit = ctx.method.adjoint == "backward-euler"
        points = grid.points(states).unbind()
        output_of = {index: k for k, index in enumerate(grid.output_indices)}
        by_params = [torch.zeros_like(p) for p in params]
        adjoint = cotangents[-1]
        with f.counting_into(backward):
            for k, h in zip(reversed(range(grid.n_steps)), reversed(grid.step_sizes()), strict=True):
                at = k if implicit else k + 1
                with torch.enable_grad():
                    y = states[at].detach().requires_grad_()
                    slope = f(points[at], y)
                rebuilding.check_graph(slope, y)
                product = _Products(slope, y, params, backward)
                if implicit:
                    adjoint = _solve_shifted(product, adjoint, h, float(points[at]))
                by_y, parts = product.by_all(adjoint)
                for total, part in zip(by_params, parts, strict=True):
                    total.add_(part, alpha=h)
                if not implicit:
                    adjoint = torch.add(adjoint, by_y, alpha=h)
                if k in output_of:
                    adjoint = adjoint + cotangents[output_of[k]]
            by_ts = None
            if ctx.needs_input_grad[5]:
                by_ts = time_gradient(f, ts, states[list(grid.output_indices)], cotangents, adjoint)
        return by_ts, adjoint, *by_params


class _Products:
    """Vector-Jacobian products of one evaluation `slope = f(t, y)`, counted."""

    def __init__(self, slope: Tensor, y: State, params: Sequence[Tensor], cost: Cost) -> None:
        self.slope, self.y, self.params, self.cost = slope, y, params, cost

    def by_state(self, v: State) -> State:
        """(df/dy)^T v."""
        return self._grad(v, [self.y])[0]

    def by_all(self, v: State) -> tuple[State, Sequence[Tensor]]:
        """(df/dy)^T v and (df/dtheta)^T v."""
        by_y, *by_params = self._grad(v, [self.y, *self.params])
        return by_y, by_params

    def _grad(self, v: State, sources: list[Tensor]) -> Sequence[Tensor]:
        self.cost.n_vjp += 1
        if not self.slope.requires_grad:  # f is constant
            return [torch.zeros_like(s) for s in sources]
        return torch.autograd.grad(self.slope, sources, v, retain_graph=True, allow_unused=True, materialize_grads=True)


def _solve_shifted(product: _Products, right: State, h: float, t: float) -> State:
    """l with (I - h J^T) l = right, from products J^T v."""
    transposed, n, shape = product.by_state, right.numel(), right.shape
    if n <= DENSE_LIMIT:
        units = torch.eye(n, dtype=right.dtype, device=right.device)
        columns = [e - h * transposed(e.reshape(shape)).reshape(-1) for e in units]
        solved, info = torch.linalg.solve_ex(torch.stack(columns, dim=1), right.reshape(-1))
        if int(info) == 0:
            return solved.reshape(shape)
        raise _unsolved(product, h, t)

    def apply(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        e = torch.as_tensor(v.reshape(-1)).to(right).reshape(shape)
        return (e - h * transposed(e)).reshape(-1).double().cpu().numpy()

    b = right.detach().reshape(-1).double().cpu().numpy()
    single = right.dtype != torch.float64
    x, failed = gmres(
        LinearOperator((n, n), matvec=apply, dtype=np.float64),
        b,
        rtol=1e-6 if single else 1e-12,
        atol=0.0,
        restart=min(n, 50),
    )
    # products in float32 know the residual of a stiff system no better than this
    if failed and np.linalg.norm(b - apply(x)) > (1e-3 if single else 1e-9) * np.linalg.norm(b):
        raise _unsolved(product, h, t)
    return torch.as_tensor(x).to(right).reshape(shape)


def _unsolved(product: _Products, h: float, t: float) -> SolveError:
    return SolveError(Status.LINEAR_SOLVE, t=t, dt=h, norm_f=float(product.slope.detach().norm()), phase="backward")
