"""Opt-Disc: adaptive solve and continuous adjoint, by kernels or torchdiffeq (both tolerances decide its error)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import torch
import torchdiffeq
from torch import Tensor

from pynode.adaptive import ADAPTIVE_SOLVERS, AdaptiveWatch, forward_options, landing_on
from pynode.adjoint import norm_of_parts, norm_over_ranks, time_gradient
from pynode.drift import BACKSOLVE_HINT, ON_DRIFT, OnDrift, drift_bound, drift_of, report_drift
from pynode.engines.choice import Engine, check_engine
from pynode.engines.direct import DirectSolve
from pynode.engines.fused.opt_disc_options import ADJOINT_NORMS, ADJOINTS, SOLVERS, AdaptiveOptions
from pynode.engines.kernels import Kernels
from pynode.errors import InvalidArgument
from pynode.evaluation import CountedField
from pynode.fields.base import System
from pynode.interpolant import Interpolant, StepRecorder
from pynode.methods.base import GradientMethod, check_choice, check_count, check_tolerance
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

    Also called optimise-then-discretise, the continuous adjoint, or the adjoint method of Chen et al. 2018 (arXiv
    1806.07366).  The gradient is that of no discrete loss, and is off by what the forward and the adjoint tolerances
    allow.

    `adjoint` says where the state comes from on the way back.  "interpolating" reads it from the steps of the forward
    solve, which are kept (each step takes three states of memory with dopri5 on torch operators, eight in the kernels)
    and interpolated to the order of the solver.  "backsolve" solves the state backwards along with the adjoint, anew
    from the stored state at each output time, so memory does not grow with the number of steps; but where the field
    contracts forwards, errors grow backwards like exp(rate x length).  So what it reconstructs is compared with the
    stored state at every output time: the largest drift, in units of the tolerances, stands in the `stats` of the
    solution, and beyond `pynode.drift.DRIFT_BOUND` the gradient is wrong, and `drift` decides: "error" raises
    `DriftError`, "warn" warns, "ignore" goes on.

    `engine="fused"` runs compiled kernels, for the dense fields and their flows on the CPU; "eager" torchdiffeq, for
    any field; "auto" chooses.  Gradients differ by what the tolerances allow: the kernels have a step control of their
    own (a PI controller, as SciML has).

    `solver` is one of torchdiffeq's adaptive ones, or "tsit5" (kernels only; they know "dopri5" too).

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
    adjoint: Literal["backsolve", "interpolating"] = "interpolating"
    landing: bool = False
    engine: Engine = "auto"
    drift: OnDrift = "error"

    _world: ClassVar[World] = ALONE  # an instance's own after `among`: where it runs is no option

    def __post_init__(self) -> None:
        check_engine(self.engine)
        check_choice("solver", self.solver, KNOWN_SOLVERS)
        check_choice("adjoint", self.adjoint, ADJOINTS)
        check_count("max_steps", self.max_steps)
        check_choice("adjoint_norm", self.adjoint_norm, ADJOINT_NORMS)
        check_choice("drift", self.drift, ON_DRIFT)
        if not isinstance(self.landing, bool):
            raise InvalidArgument("landing", self.landing, "neither True nor False", "use one of them")
        for argument in ("rtol", "atol", "adjoint_rtol", "adjoint_atol"):
            if not (argument.startswith("adjoint") and getattr(self, argument) is None):
                check_tolerance(argument, getattr(self, argument))
        if self.engine == "eager" and self._needs_kernels:
            remedy = "use dopri5, or engine auto"
            raise InvalidArgument("engine", "'eager'", f"torchdiffeq has no solver {self.solver}", remedy)
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
            raise InvalidArgument("solver", f"'{self.solver}'", problem, f"use one of {known}")
        shared = replace(self)  # a copy that has cached nothing yet
        object.__setattr__(shared, "_world", world)
        return shared

    @property
    def _needs_kernels(self) -> bool:
        return self.solver not in ADAPTIVE_SOLVERS

    @cached_property
    def _kernels(self) -> Kernels | None:
        # kernels know nothing of what a subclass does instead
        if self.solver not in SOLVERS or type(self)._solve is not OptDisc._solve or self._world.size > 1:
            return None
        options = AdaptiveOptions(**{f.name: getattr(self, f.name) for f in fields(AdaptiveOptions)})
        remedy = "use engine eager or auto"
        if self._needs_kernels:
            remedy = "use the solver dopri5"

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
        recorder = None
        if self.adjoint == "backsolve":
            watch.hint = BACKSOLVE_HINT
        elif any(x.requires_grad for x in (y0, ts, *rebuilding.sources)):
            recorder = StepRecorder(self.solver, 1.0 if bool(ts[-1] > ts[0]) else -1.0)
            watch.record = recorder.accept
        return _ContinuousAdjoint.apply(watch, recorder, self, rebuilding, ts, y0, *rebuilding.sources)


def _adaptive_solve(watch: AdaptiveWatch, method: OptDisc, ts: Times, y0: State) -> States:
    """The forward solve."""
    ys = torchdiffeq.odeint(
        watch,
        y0,
        ts.clone(),  # the field is handed parts of it, and must not change the user's
        method=method.solver,
        rtol=method.rtol,
        atol=method.atol,
        options={**_shared_norm(watch.world, y0), **forward_options(method.solver, ts, landing=method.landing)},
    )
    if watch.world.size > 1:
        watch.check_outputs(ts, ys)
    return ys


def _shared_norm(world: World, y: State) -> dict[str, Any]:
    """The option by which ranks take the steps of one process."""
    return {} if world.size == 1 else {"norm": norm_over_ranks(world, [y.numel()], [0], 1)}


class _ContinuousAdjoint(torch.autograd.Function):
    """Forward: an adaptive solve. Backward: adjoint and parameter gradient solved together, back in time.

    Between two output times, with J = df/dy, the vector (y, l, g) obeys d/dt (y, l, g) = (f, -J^T l, -(df/dtheta)^T l);
    at an output time the cotangent is added to l and y is set to the stored state.  With `adjoint="interpolating"` the
    vector is (l, g) alone, and y is read from the steps of the forward solve.
    """

    @staticmethod
    def forward(
        ctx: Any,
        watch: AdaptiveWatch,
        recorder: StepRecorder | None,
        method: OptDisc,
        rebuilding: Rebuilding,
        ts: Times,
        y0: State,
        *sources: Tensor,  # noqa: ARG004 (inputs of the node, so that they get their gradients)
    ) -> States:
        ys = _adaptive_solve(watch, method, ts, y0)
        ctx.watch, ctx.method, ctx.recorder, ctx.interpolant = watch, method, recorder, None
        watch.turn_backward()
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
        return None, None, None, None, *final(gradients, originals, "OptDisc")

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
        if ctx.recorder is not None and ctx.interpolant is None:
            nodes = ctx.recorder.nodes(watch.f, ts.detach().tolist(), ys)
            ctx.interpolant = Interpolant(method.solver, nodes, watch.f, partial(_solve_onto, method, watch.f))
        dim, backsolve = ys[0].numel(), method.adjoint == "backsolve"
        before = dim if backsolve else 0  # entries of the state
        # sizes of the state (if it is solved), the adjoint, and the gradient by each parameter
        sizes = [*([dim] if backsolve else []), dim, *(p.numel() for p in params)]
        n_states = 2 if backsolve else 1
        world, measured = watch.world, sizes[:n_states] if method.adjoint_norm == "seminorm" else sizes
        whole = world.size > 1 and len(measured) > n_states
        augmented = _Augmented(watch, rebuilding, ys.shape[1:], params, ctx.interpolant, whole=whole)
        if world.size > 1:
            parts = [0] * len(measured) if method.adjoint_norm == "rms" else list(range(len(measured)))
            options = {"norm": norm_over_ranks(world, measured, parts, split=n_states)}
        else:
            options = {"norm": norm_of_parts([sum(sizes)] if method.adjoint_norm == "rms" else measured)}
        gradients = ys.new_zeros(sum(sizes[n_states:]))
        adjoint = cotangents[-1].reshape(-1)
        for k in range(len(ts) - 1, 0, -1):
            interval = torch.stack((ts[k], ts[k - 1]))
            watch.end = float(ts[k - 1])
            end = torchdiffeq.odeint(
                augmented,
                torch.cat((*([ys[k].reshape(-1)] if backsolve else []), adjoint, gradients)),
                interval,
                method=method.solver,
                rtol=method.rtol if method.adjoint_rtol is None else method.adjoint_rtol,
                atol=method.atol if method.adjoint_atol is None else method.adjoint_atol,
                options={**options, **landing_on(interval), **augmented.first_step()},
            )[-1]
            if backsolve:
                _check_drift(method, watch, end[:dim].reshape(ys.shape[1:]), ys[k - 1], watch.end)
            adjoint = end[before : before + dim] + cotangents[k - 1].reshape(-1)
            gradients = end[before + dim :]
        if augmented.whole and not world.is_writer:
            gradients = torch.zeros_like(gradients)  # the writer has it all, and the ranks' gradients are to add up
        by_params = [
            part.reshape(p.shape).to(p.dtype) for part, p in zip(gradients.split(sizes[n_states:]), params, strict=True)
        ]
        adjoint = adjoint.reshape(ys.shape[1:])
        by_ts = time_gradient(watch.f, ts, ys, cotangents, adjoint) if ctx.needs_input_grad[4] else None
        return by_ts, adjoint, *by_params


def _solve_onto(method: OptDisc, f: VectorField, t: float, y: State, times: Sequence[float]) -> Sequence[State]:
    """States at `times` of the solution through `y` at `t`, solved as the forward solve was."""
    ts = torch.tensor([t, *times], dtype=torch.float64, device=y.device)
    options = {**_shared_norm(method._world, y), **landing_on(ts), "first_step": (ts[1] - ts[0]).abs()}
    ys: Tensor = torchdiffeq.odeint(f, y, ts, method=method.solver, rtol=method.rtol, atol=method.atol, options=options)
    return ys[1:].unbind()


def _check_drift(method: OptDisc, watch: AdaptiveWatch, reconstructed: State, stored: State, t: float) -> None:
    """Notes how far the state that was solved backwards is from the stored one; all ranks know the largest drift."""
    rtol, atol = max(method.rtol, method.adjoint_rtol or 0.0), max(method.atol, method.adjoint_atol or 0.0)
    drift, samples = drift_of(reconstructed, stored, rtol, atol)
    world = watch.world
    if world.size > 1:
        drifts = torch.zeros(world.size, dtype=torch.float64)
        drifts[world.rank] = drift
        world.sum_(drifts)
        samples = samples if drift == float(drifts.max()) else None
        drift = float(drifts.max())
    report_drift(watch.stats, method.drift, drift, t, samples, bound=drift_bound(method.solver))


class _Augmented:
    """The right-hand side of the adjoint solve, on one flat vector (y, l, g), or (l, g) with an `interpolant` for y.

    With `whole`, g is the gradient of all ranks' samples: where it takes part in the step control, its error has to be
    measured against its own size, not against that of a share.
    """

    def __init__(
        self,
        watch: AdaptiveWatch,
        rebuilding: Rebuilding,
        shape: torch.Size,
        params: Sequence[Tensor],
        interpolant: Interpolant | None,
        *,
        whole: bool,
    ) -> None:
        self.watch, self.shape, self.params, self.interpolant, self.whole = watch, shape, params, interpolant, whole
        self.rebuilding, self.dim = rebuilding, shape.numel()
        self.before = self.dim if interpolant is None else 0
        # torchdiffeq calls these by name
        self.callback_accept_step = watch.callback_accept_step
        self.callback_reject_step = watch.callback_reject_step
        self._last: Tensor | None = None

    def first_step(self) -> dict[str, Tensor]:
        """Options for the next interval: begin with the step size that served last, where there is one."""
        return {} if self._last is None else {"first_step": self._last}

    def __call__(self, t: Tensor, augmented: Tensor) -> Tensor:
        adjoint = augmented[self.before : self.before + self.dim].reshape(self.shape)
        y = self._state(t, augmented).detach().requires_grad_()
        with torch.enable_grad():
            slope = self.watch(t, y)
        self.rebuilding.check_graph(slope, y)
        sources = (y, *self.params)
        if slope.requires_grad:
            by_sources = torch.autograd.grad(slope, sources, -adjoint, allow_unused=True, materialize_grads=True)
        else:  # f is constant
            by_sources = tuple(torch.zeros_like(s) for s in sources)
        self.watch.recent.append(by_sources[0])
        solved = [slope.detach().reshape(-1)] if self.interpolant is None else []
        flat = torch.cat([*solved, *(g.reshape(-1) for g in by_sources)])
        if self.whole:
            self.watch.world.sum_(flat[self.before + self.dim :])
        return flat

    def callback_step(self, t0: Tensor, augmented: Tensor, dt: Tensor) -> None:
        """Called before every step: raises `SolveError` where it can't be taken."""
        self._last = dt
        self.watch.check_step(t0, dt, self._state(t0, augmented), augmented)
        self.watch.recent.clear()

    def _state(self, t: Tensor, augmented: Tensor) -> State:
        if self.interpolant is None:
            return augmented[: self.dim].reshape(self.shape)
        return self.interpolant(float(t))
