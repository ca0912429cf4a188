"""Opt-Disc on a fixed grid by torch operators: state and adjoint ODE each discretised by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

from pynode.adjoint import check_cotangents, time_gradient
from pynode.deferred import Checks, active_checks, require
from pynode.errors import SolveError
from pynode.gradients import SameGrid
from pynode.rebuilding import Rebuilding
from pynode.solution import Cost, Status
from pynode.solve import Kept, Pullback, Run, Solve
from pynode.types import State, States

DENSE_LIMIT = 64
"""Largest number of state entries for which backward Euler builds its matrix; GMRES beyond."""

VECTOR_NUMBERS, FEWEST_VECTORS = 1 << 22, 50
"""Numbers that GMRES's basis may have before it is restarted (32 MB), and the vectors that it has at least.

Restarted too early it may stand still; with as many vectors as entries it ends, but for rounding.
"""

PRODUCTS = 3
"""Products for each entry of the state after which GMRES has failed."""


def run(solve: Solve) -> Run:
    """Solves, and keeps the states of all steps."""
    solve.stats.forward.n_accepted = solve.grid.n_steps
    if not solve.wants_gradient:
        return Run(solve.recipe.formula.solve(solve.counted(), solve.y0, solve.grid), None, solve.stats)
    pullback = _FixedAdjoint(solve)
    with torch.no_grad():
        return Run(pullback.forward(), pullback, solve.stats)


class _FixedAdjoint(Pullback):
    """The adjoint ODE on the grid of the forward solve."""

    name = "OptDiscFixed"

    def __init__(self, solve: Solve) -> None:
        gradient = solve.recipe.gradient
        assert isinstance(gradient, SameGrid)
        self.implicit = gradient.adjoint == "backward-euler"
        self.f, self.scheme, self.grid, self.stats = solve.counted(), solve.recipe.formula, solve.grid, solve.stats
        first = solve.ts[0]
        self._rebuilding: Rebuilding | None = Rebuilding(self.f, solve.y0, first, solve.params, method=self.name)
        self._states: States | None = None
        self._checks = active_checks()
        self.inputs = (solve.ts, solve.y0, *self._rebuilding.sources)

    def forward(self) -> States:
        """Solves; to be called once, without autograd."""
        assert self._rebuilding is not None
        states = self.scheme.trajectory(self.f, self.inputs[1], self.grid)
        self._rebuilding.settle(self.grid.output_times[-1], states[-1])
        self._states = states
        return self.grid.at_outputs(states)

    def release(self) -> Kept:
        states, rebuilding, self._states, self._rebuilding = self._states, self._rebuilding, None, None
        return Kept((self.inputs[0], states), rebuilding)

    def pull(self, kept: Kept, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        ts, states = kept.tensors
        rebuilding: Rebuilding = kept.held
        check_cotangents(ts, cotangents, self._checks)
        with torch.no_grad(), rebuilding.as_it_was() as params:
            f, grid, backward = self.f, self.grid, self.stats.backward
            points, times = grid.points(states).unbind(), grid.point_times()
            output_of = {index: k for k, index in enumerate(grid.output_indices)}
            by_params = [torch.zeros_like(p) for p in params]
            adjoint = cotangents[-1]
            with f.counting_into(backward):
                for k, h in zip(reversed(range(grid.n_steps)), reversed(grid.step_sizes()), strict=True):
                    at = k if self.implicit else k + 1
                    with torch.enable_grad():
                        y = states[at].detach().requires_grad_()
                        slope = f(points[at], y)
                    rebuilding.check_graph(slope, y)
                    product = _Products(slope, y, params, backward)
                    if self.implicit:
                        adjoint = _solve_shifted(product, adjoint, h, times[at], self._checks)
                    by_y, parts = product.by_all(adjoint)
                    for total, part in zip(by_params, parts, strict=True):
                        total.add_(part, alpha=h)
                    if not self.implicit:
                        adjoint = torch.add(adjoint, by_y, alpha=h)
                    if k in output_of:
                        adjoint = adjoint + cotangents[output_of[k]]
                by_ts = None
                if wanted[0]:
                    by_ts = time_gradient(f, ts, grid.at_outputs(states), cotangents, adjoint)
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


def _solve_shifted(product: _Products, right: State, h: float, t: float, checks: Checks | None) -> State:
    """l with (I - h J^T) l = right, from products J^T v.

    Beyond `DENSE_LIMIT` SciPy solves it, to which a device hands over every vector.
    """
    transposed, n, shape = product.by_state, right.numel(), right.shape
    if n <= DENSE_LIMIT:
        units = torch.eye(n, dtype=right.dtype, device=right.device)
        columns = [e - h * transposed(e.reshape(shape)).reshape(-1) for e in units]
        solved, info = torch.linalg.solve_ex(torch.stack(columns, dim=1), right.reshape(-1))

        fail = partial(_unsolved, product.slope.detach(), h, t)
        require(None if right.is_cpu else checks, info == 0, fail)
        return solved.reshape(shape)

    def apply(v: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        e = torch.as_tensor(v.reshape(-1)).to(right).reshape(shape)
        return (e - h * transposed(e)).reshape(-1).double().cpu().numpy()

    restart = min(n, max(FEWEST_VECTORS, VECTOR_NUMBERS // n))
    b = right.detach().reshape(-1).double().cpu().numpy()
    single = right.dtype != torch.float64
    x, failed = gmres(
        LinearOperator((n, n), matvec=apply, dtype=np.float64),
        b,
        rtol=1e-6 if single else 1e-12,
        atol=0.0,
        restart=restart,
        maxiter=-(-PRODUCTS * n // restart),
    )
    # products in float32 know the residual of a stiff system no better than this
    if failed and np.linalg.norm(b - apply(x)) > (1e-3 if single else 1e-9) * np.linalg.norm(b):
        _unsolved(product.slope.detach(), h, t)
    return torch.as_tensor(x).to(right).reshape(shape)


def _unsolved(slope: Tensor, h: float, t: float) -> NoReturn:
    raise SolveError(Status.LINEAR_SOLVE, t=t, dt=h, norm_f=float(slope.norm()), phase="backward")
