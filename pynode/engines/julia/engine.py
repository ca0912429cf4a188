"""Julia: solves and gradients by the Julia package PyNODE, that is by SciML, in a worker; the loss stays in torch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pynode.adjoint import check_cotangents
from pynode.arguments import check_choice, memory_bytes
from pynode.drift import report_drift, sample_of_row
from pynode.engines.base import Engine
from pynode.engines.julia.requests import pullback_request, solve_request
from pynode.errors import EngineUnavailable, FieldChanged, InvalidArgument, PynodeError, SolveError, StateMismatch
from pynode.fields.base import System
from pynode.gradients import Continuous, Discrete
from pynode.grid import TimeGrid
from pynode.julia.environment import ready
from pynode.julia.session import WORKER, Held, Reply, Session, default_session, is_running
from pynode.memory import active_meter
from pynode.schemes.base import Scheme
from pynode.solution import Cost, SolveStats, Status
from pynode.solve import Kept, Pullback, Recipe, Run, Solve
from pynode.steps import Adaptive
from pynode.tapes.tape import Tape
from pynode.types import State, States, Times

DTYPES = (torch.float64, torch.float32)

SOLVERS = ("tsit5", "vern7", "vern9", "auto")
"""SciML's solvers by our names; "auto" is Tsit5 that changes to Rodas5P where the problem is stiff."""

ADJOINTS = ("gauss", "interpolating", "quadrature", "backsolve")
VJPS = ("handwritten", "reversediff", "zygote", "enzyme")


class Julia(Engine):
    """Runs a solve in Julia.

    The field is a `Field`, a module that can be captured, or a flow of one.  CPU, float64 or float32.  Fixed steps keep
    all stages for the way back.  Right-hand sides and products are counted in Julia: `n_vjp` counts points at which
    products were taken, whether by state, by parameters, or both.

    The gradient is that at the values that theta had during the solve, whatever happens to them before the backward
    pass.
    """

    name: ClassVar[str] = "julia"
    title: ClassVar[str] = "Julia"
    label: ClassVar[str] = "julia"
    needs_specification: ClassVar[bool] = True
    own_process: ClassVar[bool] = True
    solvers: ClassVar[tuple[str, ...]] = SOLVERS
    defaults: ClassVar[Mapping[str, Any]] = {"solver": "tsit5", "adjoint": "gauss", "max_steps": 100_000}

    def unavailable(self) -> str | None:
        try:
            self.check_available()
        except PynodeError as error:
            return str(error)
        return None

    def check_available(self) -> None:
        if not os.environ.get(WORKER) and not is_running():
            ready()

    def check(self, recipe: Recipe) -> None:
        gradient, steps = recipe.gradient, recipe.steps
        if not isinstance(gradient, (Discrete, Continuous)):
            problem = f"it does not have gradient = {type(gradient).__name__}"
            raise InvalidArgument("engine", "'julia'", problem, "use engine eager")
        if isinstance(gradient, Discrete) and gradient.memory != "store":
            remedy = "use memory = 'store', or engine eager"
            raise InvalidArgument("memory", f"'{gradient.memory}'", "engine = 'julia' keeps all stages", remedy)
        if isinstance(steps, Adaptive) and recipe.scheme.name not in SOLVERS:
            remedy = f"use solver = {', '.join(SOLVERS)}, or engine auto"
            raise InvalidArgument("solver", f"'{recipe.scheme.name}'", "engine = 'julia' does not have it", remedy)
        if isinstance(steps, Adaptive) and steps.landing:
            problem = "engine = 'julia' interpolates at output times"
            raise InvalidArgument("landing", True, problem, "leave it out, or use engine auto")
        if isinstance(gradient, Continuous):
            check_choice("adjoint", gradient.adjoint, ADJOINTS)
            if gradient.adjoint == "backsolve" and recipe.scheme.name == "auto":
                problem = "solver = 'auto' is for stiff problems, whose state can't be solved backwards"
                raise InvalidArgument("adjoint", "'backsolve'", problem, "use adjoint = 'gauss', or solver = 'tsit5'")
            if gradient.norm not in ("mixed", "rms"):
                remedy = "leave adjoint_norm out, or use engine auto"
                raise InvalidArgument("adjoint_norm", f"'{gradient.norm}'", "engine = 'julia' has SciML's", remedy)

    def obstacle_on_ranks(self, recipe: Recipe) -> str | None:  # noqa: ARG002
        return "each of the ranks would choose its steps by its own samples alone"

    def check_solve(self, solve: Solve) -> None:
        if reason := self.obstacle(solve):
            raise EngineUnavailable(f"{self.title} can't solve this: {reason}; {self.remedy}")
        _, _, ts = _checked(solve)
        bridge_options(solve.recipe, ts)

    def obstacle(self, solve: Solve) -> str | None:
        if solve.no_system is not None:
            return solve.no_system
        flow = solve.system.flow
        if flow is not None and flow.get("context") and flow["jacobian"] and flow["divergence"] == "exact":
            return "its exact Jacobian cost would include derivatives by the context; use Hutchinson()"
        return None

    def run(self, solve: Solve) -> Run:
        system, y0, ts = _checked(solve)
        inputs = (ts, y0, *system.theta)
        wanted = solve.wants_gradient and any(x.requires_grad for x in inputs)
        session, start = default_session(), time.perf_counter()
        flat = y0.detach().numpy().reshape(-1, system.columns)
        arrays = {"theta": _theta(system, flat.dtype), "y0": flat, "ts": ts.detach().double().numpy()}
        if system.probes is not None:
            arrays["probes"] = system.probes.detach().to(y0.dtype).numpy()
        options = {**bridge_options(solve.recipe, ts), "gradient": wanted}
        reply = session.run(solve_request(system, options, flat, len(ts)), arrays)
        _account(solve.stats.forward, solve.stats, reply, start)
        _check(reply, "forward")
        # the array reshaped, not the tensor: a view could not be changed in place
        states = torch.from_numpy(reply.arrays["ys"].reshape(len(ts), *y0.shape))
        if active_meter() is not None:  # which counts what operators return
            states = states.clone()
        if not wanted:
            return Run(states, None, solve.stats)
        assert reply.held is not None
        return Run(states, _Pullback(solve, system, inputs, _Held(session, reply.held)), solve.stats)


def bridge_options(recipe: Recipe, ts: Times) -> dict[str, Any]:
    """The recipe as `PyNODE.Bridge.prepared_solve` wants it, for output times `ts`."""
    scheme, steps, gradient = recipe.scheme, recipe.steps, recipe.gradient
    if isinstance(scheme, Scheme) and not isinstance(steps, Adaptive):
        formula, substeps = scheme.formula, TimeGrid.between(ts, steps.n).steps_per_interval
        return {"kind": "disc-opt", "A": formula.a, "b": formula.b, "c": formula.c, "substeps": substeps}
    assert isinstance(steps, Adaptive)
    assert isinstance(gradient, Continuous)
    limit = gradient.memory_limit
    return {
        "kind": "opt-disc",
        "solver": scheme.name,
        "adjoint": gradient.adjoint,
        "vjp": gradient.vjp,
        "rtol": steps.rtol,
        "atol": steps.atol,
        "adjoint_rtol": steps.rtol if gradient.rtol is None else gradient.rtol,
        "adjoint_atol": steps.atol if gradient.atol is None else gradient.atol,
        "checkpointing": gradient.checkpointing,
        "max_steps": steps.max_steps,
        **({} if limit is None else {"memory": memory_bytes("memory_limit", limit)}),
    }


def _checked(solve: Solve) -> tuple[System, State, Tensor]:
    """System, initial state and times; raises `UsageError` for what Julia can't take."""
    system, y0 = solve.system, solve.y0
    if y0.device.type != "cpu" or y0.dtype not in DTYPES:
        shown, problem = f"{y0.dtype} on {y0.device}", "Julia works in float64 or float32 on the CPU"
        raise InvalidArgument("y0", shown, problem, "move field and y0 there")
    if y0.shape[-1:] != (system.columns,):
        raise InvalidArgument("y0", tuple(y0.shape), "wrong shape", f"this field needs (..., {system.columns})")
    for held in (*system.theta, *(() if system.probes is None else (system.probes,))):
        counts = isinstance(system.spec, Tape) and not held.is_floating_point()  # whole numbers among the constants
        if (held.dtype, held.device) != (y0.dtype, y0.device) and not counts:
            raise StateMismatch(
                f"the field holds {held.dtype} on {held.device}, but the state y0 is {y0.dtype} on {y0.device}; "
                "make both the same"
            )
    known = {id(p) for p in system.theta}
    # of a captured module, whose constants these are not, it has been looked into
    strange = [] if isinstance(system.spec, Tape) else [tuple(p.shape) for p in solve.params if id(p) not in known]
    if system.probes is not None:
        shape = (y0.numel() // system.columns, system.spec.state_dim)
        if tuple(system.probes.shape) != shape:
            remedy = f"give one probe a sample, as a tensor of shape {shape}"
            raise InvalidArgument("probes", tuple(system.probes.shape), "wrong shape", remedy)
    if strange:
        raise InvalidArgument("params", strange, "no parameters of the field's specification", "leave params out")
    return system, y0, solve.ts


class _Pullback(Pullback):
    """The adjoint of a solution that the worker holds."""

    name = "a method of the Julia backend"

    def __init__(self, solve: Solve, system: System, inputs: tuple[Tensor, ...], held: _Held) -> None:
        gradient = solve.recipe.gradient
        self.on_drift = gradient.drift if isinstance(gradient, Continuous) else "error"
        self.system, self.inputs, self.stats, self.held = system, inputs, solve.stats, held
        self.kinds = self._kinds()

    def _kinds(self) -> list[tuple[torch.Size, torch.dtype, torch.device]]:
        return [(x.shape, x.dtype, x.device) for x in self.inputs[1:]]

    def release(self) -> Kept:
        return Kept(self.inputs[:1])  # so that torch knows of a second backward pass

    def pull(self, kept: Kept, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        if self.kinds != self._kinds():
            raise FieldChanged(
                "the initial state or a parameter has another size or dtype, or is on another device, than when it was "
                "solved, so that no gradient fits it; call backward first"
            )
        (ts,) = kept.tensors
        check_cotangents(ts, cotangents)
        system, y0, start = self.system, self.inputs[1], time.perf_counter()
        dtype = y0.detach().numpy().dtype
        shape, sizes = (y0.numel() // system.columns, system.columns), [p.numel() for p in system.theta]
        reply = self.held.session.run(
            pullback_request(sum(sizes), shape, dtype, len(ts)),
            {"cotangents": cotangents.detach().numpy().reshape(len(ts), *shape)},
            {"handle": self.held.owner.handle, "times": int(wanted[0])},
        )
        _account(self.stats.backward, self.stats, reply, start)
        _check(reply, "backward")
        if reply.value.get("drift") is not None:
            samples = sample_of_row(torch.empty(y0.shape, device="meta"), int(reply.value["drift_sample"]) - 1)
            report_drift(self.stats, self.on_drift, reply.value["drift"], reply.value["drift_t"], samples)
        adjoint = torch.from_numpy(reply.arrays["grad_y0"]).reshape(y0.shape)
        chunks = torch.from_numpy(reply.arrays["grad_theta"]).split(sizes)
        by_theta = [
            chunk.reshape(p.shape) if want else None
            for p, chunk, want in zip(system.theta, chunks, wanted[2:], strict=True)
        ]
        by_ts = torch.from_numpy(reply.arrays["grad_ts"]).to(ts) if wanted[0] else None
        return by_ts, adjoint, *by_theta


class _Held(NamedTuple):
    """A solution that the worker of `session` keeps as long as its `owner` lives."""

    session: Session
    owner: Held


def _theta(system: System, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    parts = [p.detach().numpy().reshape(-1) for p in system.theta]  # a third of the time that torch takes for it
    return np.concatenate([np.empty(0, dtype), *parts], dtype=dtype)


def _account(cost: Cost, stats: SolveStats, reply: Reply, start: float) -> None:
    """Adds what the worker counted; the seconds since `start` that were not Julia's solve are the bridge's."""
    counted: Mapping[str, int] = reply.value["cost"]
    cost.n_f += counted["n_f"]
    cost.n_vjp += counted["n_vjp"]
    cost.n_accepted += counted["n_accepted"]
    cost.n_rejected += counted["n_rejected"]
    stats.seconds_bridge += max(0.0, time.perf_counter() - start - reply.value["seconds"])


def _check(reply: Reply, phase: str) -> None:
    """Raises `SolveError` unless the solve reached its end."""
    end = reply.value
    status = Status[end["status"]]
    if status is not Status.SUCCESS:
        t, dt, norm_f = (float("nan") if end[k] is None else float(end[k]) for k in ("t", "dt", "norm_f"))
        raise SolveError(status, t=t, dt=dt, norm_f=norm_f, phase=phase)
