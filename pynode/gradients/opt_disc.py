"""Opt-Disc: adaptive solve and continuous adjoint, by kernels or torchdiffeq (both tolerances decide its error)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
import torchdiffeq
from torch import Tensor

from pynode.adaptive import ADAPTIVE_SOLVERS, AdaptiveWatch, forward_options, landing_on
from pynode.adjoint import norm_of_parts, norm_over_ranks, time_gradient
from pynode.engines.choice import Engine, check_engine
from pynode.engines.direct import DirectSolve
from pynode.engines.fused.opt_disc_options import ADJOINT_NORMS, ADJOINTS, SOLVERS, AdaptiveOptions
from pynode.engines.kernels import Kernels
from pynode.errors import InvalidArgument
from pynode.evaluation import CountedField
from pynode.fields.base import System
from pynode.gradients.base import GradientMethod, check_choice, check_count, check_tolerance
from pynode.rebuilding import Rebuilding, save, saved
from pynode.second_derivatives import final
from pynode.solution import SolveStats
from pynode.transforms import is_batched, one_by_one
from pynode.types import State, States, Times, VectorField
from pynode.world import ALONE, World

KNOWN_SOLVERS = tuple(dict.fromkeys((*ADAPTIVE_SOLVERS, *SOLVERS)))
"""Torchdiffeq's, and those that the kernels alone have."""


@dataclass(frozen=True)
class OptDisc(GradientMethod):
    """Optimise, then discretise: solve the continuous adjoint ODE backwards in time by an adaptive solve of its own.

    Also called optimise-then-discretise, the continuous (backsolve) adjoint, or the adjoint method of Chen et al. 2018
    (arXiv 1806.07366).  Memory does not grow with the number of steps; the gradient is that of no discrete loss, and is
    off by what the forward and the adjoint tolerances allow.  The state is solved backwards along with the adjoint,
    starting anew from the stored state at each output time (with the step size that served last), so fields that are
    unstable in reversed time hurt.

    `engine="fused"` does that in compiled kernels, for the dense fields and their flows on the CPU; "eager" by
    torchdiffeq, for any field; "auto" chooses.  Gradients differ by what the tolerances allow: the kernels have a step
    control of their own (a PI controller, as SciML has).

    `solver` is one of torchdiffeq's adaptive ones, or "tsit5" (kernels only; they know "dopri5" too).
    `adjoint="interpolating"` (kernels only) reads the state from the forward solution's interpolant instead of solving
    it backwards: more memory, no trouble in reversed time.

    `landing=True` lets the forward solve step onto the output times instead of interpolating between steps: more
    evaluations, and a gradient that is nearer to the continuous one by one order of magnitude or more at equal
    tolerances, since the adjoint starts from better states (tested; dopri8 does so always).

    The field may hold or read anything that wants a gradient, but can't draw random numbers (`RandomField`).  The
    gradient can't be differentiated again (`NotTwiceDifferentiable`), and transforms of torch.func can't be applied.

    Tolerances are per step, relative and absolute, in units of the state.  `adjoint_rtol` and `adjoint_atol` default to
    the forward ones.  The adjoint's step control takes the largest of the root mean squares of state, adjoint, and each
    parameter's gradient; `adjoint_norm="seminorm"` leaves the last out (Kidger, Chen & Lyons 2021, arXiv 2009.09457),
    "rms" takes one root mean square of everything, as SciML does.  `max_steps` bounds the steps of either solve.
    """

    name: ClassVar[str] = "opt-disc"
    backend: ClassVar[str] = "torchdiffeq"
    adaptive: ClassVar[bool] = True

    solver: str = "dopri5"
    rtol: float = 1e-7
    atol: float = 1e-9
    adjoint_rtol: float | None = None
    adjoint_atol: float | None = None
    adjoint_norm: Literal["mixed", "seminorm", "rms"] = "mixed"
    max_steps: int = 10_000
    adjoint: Literal["backsolve", "interpolating"] = "backsolve"
    landing: bool = False
    engine: Engine = "auto"

    _world: ClassVar[World] = ALONE  # an instance's own after `among`: where it runs is no option

    def __post_init__(self) -> None:
        check_engine(self.engine)
        check_choice("solver", self.solver, KNOWN_SOLVERS)
        check_choice("adjoint", self.adjoint, ADJOINTS)
        check_count("max_steps", self.max_steps)
        check_choice("adjoint_norm", self.adjoint_norm, ADJOINT_NORMS)
        if not isinstance(self.landing, bool):
            raise InvalidArgument("landing", self.landing, "neither True nor False", "use one of them")
        for argument in ("rtol", "atol", "adjoint_rtol", "adjoint_atol"):
            if not (argument.startswith("adjoint") and getattr(self, argument) is None):
                check_tolerance(argument, getattr(self, argument))
        if self.engine == "eager" and self._needs_kernels:
            remedy = "use dopri5 and backsolve, or engine auto"
            raise InvalidArgument("engine", "'eager'", f"torchdiffeq knows no {self.solver} {self.adjoint}", remedy)
        if self.engine == "fused" and self.solver not in SOLVERS:
            remedy = f"use {' or '.join(SOLVERS)}, or engine auto"
            raise InvalidArgument("engine", "'fused'", f"the kernels know no solver {self.solver}", remedy)

    def among(self, world: World) -> OptDisc:
        """This method on the ranks of `world`: all take the same steps, those of one process with torch's operators.

        The error norms of state and adjoint are sums over the ranks, one small exchange a step.  Unless `adjoint_norm`
        is "seminorm", the adjoint's step control needs the whole batch's parameter gradient as well, an exchange of its
        size at each evaluation; the writer then hands back the whole gradient and the other ranks zeros.

        Raises `InvalidArgument` for what only the compiled kernels do, since those control their steps by themselves.
        """
        if world.size == 1:
            return self
        problem = f"kernels choose their steps by the samples of one of the {world.size} ranks"
        if self.engine == "fused":
            raise InvalidArgument("engine", "'fused'", problem, "use engine eager or auto")
        if self._needs_kernels:
            known = ", ".join(ADAPTIVE_SOLVERS)
            raise InvalidArgument(
                "solver", f"'{self.solver}' with {self.adjoint}", problem, f"use backsolve and one of {known}"
            )
        shared = replace(self)  # a copy that has cached nothing yet
        object.__setattr__(shared, "_world", world)
        return shared

    @property
    def _needs_kernels(self) -> bool:
        return self.solver not in ADAPTIVE_SOLVERS or self.adjoint != "backsolve"

    @cached_property
    def _kernels(self) -> Kernels | None:
        # kernels know nothing of what a subclass does instead
        if self.solver not in SOLVERS or type(self)._solve is not OptDisc._solve or self._world.size > 1:
            return None
        options = AdaptiveOptions(**{f.name: getattr(self, f.name) for f in fields(AdaptiveOptions)})
        remedy = "use engine eager or auto"
        if self._needs_kernels:
            remedy = "use the solver dopri5 and the adjoint backsolve"

        def failure(dtype: torch.dtype) -> str | None:
            from pynode.engines.fused import opt_disc_op  # imports Numba

            return opt_disc_op.failure(dtype)

        def solve(system: System, field: VectorField, y0: State, ts: Times, stats: SolveStats) -> States:  # noqa: ARG001
            from pynode.engines.fused import opt_disc_op

            return opt_disc_op.solve(system, options, y0, ts, stats)

        def solve_directly(system: System, y0: State, ts: Times, stats: SolveStats) -> DirectSolve:
            from pynode.engines.fused import opt_disc_op

            return opt_disc_op.solve_directly(system, options, y0, ts, stats)

        return Kernels("fused" if self._needs_kernels else self.engine, failure, solve, solve_directly, remedy)

    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        watch = AdaptiveWatch(f, stats, self.max_steps, self._world, end=float(ts[-1].detach()))
        if not torch.is_grad_enabled():
            return _adaptive_solve(watch, self, ts, y0)
        rebuilding = Rebuilding(f, y0, ts[0], params, method=type(self).__name__)
        return _ContinuousAdjoint.apply(watch, self, rebuilding, ts, y0, *rebuilding.sources)


def _adaptive_solve(watch: AdaptiveWatch, method: OptDisc, ts: Times, y0: State) -> States:
    """The forward solve."""
    among = {} if watch.world.size == 1 else {"norm": norm_over_ranks(watch.world, [y0.numel()], [0], 1)}
    ys = torchdiffeq.odeint(
        watch,
        y0,
        ts.clone(),  # the field is handed parts of it, and must not change the user's
        method=method.solver,
        rtol=method.rtol,
        atol=method.atol,
        options={**among, **forward_options(method.solver, ts, landing=method.landing)},
    )
    if watch.world.size > 1:
        watch.check_outputs(ts, ys)
    return ys


class _ContinuousAdjoint(torch.autograd.Function):
    """Forward: an adaptive solve. Backward: state, adjoint and parameter gradient solved together, back in time.

    Between two output times, with J = df/dy, the vector (y, l, g) obeys d/dt (y, l, g) = (f, -J^T l, -(df/dtheta)^T l);
    at an output time the cotangent is added to l and y is set to the stored state.
    """

    @staticmethod
    def forward(
        ctx: Any,
        watch: AdaptiveWatch,
        method: OptDisc,
        rebuilding: Rebuilding,
        ts: Times,
        y0: State,
        *sources: Tensor,  # noqa: ARG004 (inputs of the node, so that they get their gradients)
    ) -> States:
        ys = _adaptive_solve(watch, method, ts, y0)
        watch.turn_backward()
        ctx.watch, ctx.method = watch, method
        rebuilding.settle(float(ts[-1]), ys[-1])
        save(ctx, rebuilding, ts, ys)
        return ys

    @staticmethod
    def backward(ctx: Any, cotangents: States) -> tuple[Tensor | None, ...]:
        rebuilding, (ts, ys) = saved(ctx)
        originals = (cotangents, ts, rebuilding.origin, *rebuilding.sources)

        def solve(each: States) -> tuple[Tensor | None, ...]:
            with torch.no_grad(), rebuilding.as_it_was() as leaves:
                return _ContinuousAdjoint._solve_adjoint(ctx, rebuilding, ts, ys, leaves, each)

        gradients = one_by_one(solve, cotangents) if is_batched(cotangents) else solve(cotangents)
        return None, None, None, *final(gradients, originals, "OptDisc")

    @staticmethod
    def _solve_adjoint(
        ctx: Any,
        rebuilding: Rebuilding,
        ts: Times,
        ys: States,
        params: Sequence[Tensor],
        cotangents: States,
    ) -> tuple[Tensor | None, ...]:
        """The gradients by ts, y0 and `params`."""
        watch, method = ctx.watch, ctx.method
        watch.check_cotangents(ts, cotangents)
        dim = ys[0].numel()
        sizes = [dim, dim, *(p.numel() for p in params)]
        world, measured = watch.world, sizes[:2] if method.adjoint_norm == "seminorm" else sizes
        whole = world.size > 1 and len(measured) > 2
        augmented = _Augmented(watch, rebuilding, ys.shape[1:], params, sizes, whole=whole)
        if world.size > 1:
            parts = [0] * len(measured) if method.adjoint_norm == "rms" else list(range(len(measured)))
            options = {"norm": norm_over_ranks(world, measured, parts, split=2)}
        else:
            options = {"norm": norm_of_parts([sum(sizes)] if method.adjoint_norm == "rms" else measured)}
        gradients = ys.new_zeros(sum(sizes[2:]))
        adjoint = cotangents[-1].reshape(-1)
        for k in range(len(ts) - 1, 0, -1):
            interval = torch.stack((ts[k], ts[k - 1]))
            watch.end = float(ts[k - 1])
            end = torchdiffeq.odeint(
                augmented,
                torch.cat((ys[k].reshape(-1), adjoint, gradients)),
                interval,
                method=method.solver,
                rtol=method.rtol if method.adjoint_rtol is None else method.adjoint_rtol,
                atol=method.atol if method.adjoint_atol is None else method.adjoint_atol,
                options={**options, **landing_on(interval), **augmented.first_step()},
            )[-1]
            adjoint = end[dim : 2 * dim] + cotangents[k - 1].reshape(-1)
            gradients = end[2 * dim :]
        if augmented.whole and not world.is_writer:
            gradients = torch.zeros_like(gradients)  # the writer has it all, and the ranks' gradients are to add up
        by_params = [
            part.reshape(p.shape).to(p.dtype) for part, p in zip(gradients.split(sizes[2:]), params, strict=True)
        ]
        adjoint = adjoint.reshape(ys.shape[1:])
        by_ts = time_gradient(watch.f, ts, ys, cotangents, adjoint) if ctx.needs_input_grad[3] else None
        return by_ts, adjoint, *by_params


class _Augmented:
    """The right-hand side of the adjoint solve, on one flat vector (y, l, g).

    With `whole`, g is the gradient of all ranks' samples: where it takes part in the step control, its error has to be
    measured against its own size, not against that of a share.
    """

    def __init__(
        self,
        watch: AdaptiveWatch,
        rebuilding: Rebuilding,
        shape: torch.Size,
        params: Sequence[Tensor],
        sizes: Sequence[int],
        *,
        whole: bool,
    ) -> None:
        self.watch, self.shape, self.params, self.dim, self.whole = watch, shape, params, sizes[0], whole
        self.rebuilding = rebuilding
        # torchdiffeq calls these by name
        self.callback_accept_step = watch.callback_accept_step
        self.callback_reject_step = watch.callback_reject_step
        self._last: Tensor | None = None

    def first_step(self) -> dict[str, Tensor]:
        """Options for the next interval: begin with the step size that served last, where there is one."""
        return {} if self._last is None else {"first_step": self._last}

    def __call__(self, t: Tensor, augmented: Tensor) -> Tensor:
        adjoint = augmented[self.dim : 2 * self.dim].reshape(self.shape)
        with torch.enable_grad():
            y = augmented[: self.dim].reshape(self.shape).detach().requires_grad_()
            slope = self.watch(t, y)
        self.rebuilding.check_graph(slope, y)
        sources = (y, *self.params)
        if slope.requires_grad:
            found = torch.autograd.grad(slope, sources, -adjoint, allow_unused=True, materialize_grads=True)
        else:  # f is constant
            found = tuple(torch.zeros_like(s) for s in sources)
        self.watch.recent.append(found[0])
        flat = torch.cat([slope.detach().reshape(-1), *(g.reshape(-1) for g in found)])
        if self.whole:
            self.watch.world.sum_(flat[2 * self.dim :])
        return flat

    def callback_step(self, t0: Tensor, augmented: Tensor, dt: Tensor) -> None:
        """Called before every step: raises `SolveError` where it can't be taken."""
        self._last = dt
        self.watch.check_step(t0, dt, augmented[: self.dim].reshape(self.shape), augmented)
        self.watch.recent.clear()
