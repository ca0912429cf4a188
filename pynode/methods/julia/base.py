"""What the methods of the Julia backend share: one autograd node whose forward and backward run in the worker."""

from __future__ import annotations

import os
import time
import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pynode.adjoint import check_cotangents
from pynode.drift import report_drift, sample_of_row
from pynode.errors import InvalidArgument, SolveError, StateMismatch
from pynode.evaluation import CountedField
from pynode.fields.base import System, system_of
from pynode.julia.environment import ready
from pynode.julia.session import WORKER, Reply, Session, default_session
from pynode.methods.base import GradientMethod
from pynode.second_derivatives import final
from pynode.solution import Cost, SolveStats, Status
from pynode.transforms import is_batched, one_by_one
from pynode.types import State, States, Times

DTYPES = (torch.float64, torch.float32)


@dataclass(frozen=True)
class JuliaMethod(GradientMethod):
    """A method that the Julia package PyNODE runs; the loss stays in torch.

    The field must have a specification: a `Field`, or a flow of one.  CPU, float64 or float32.
    """

    backend: ClassVar[str] = "julia"
    needs_specification: ClassVar[bool] = True

    @classmethod
    def check_available(cls) -> None:
        if not os.environ.get(WORKER):
            ready()

    @abstractmethod
    def to_bridge(self, ts: Times) -> dict[str, Any]:
        """The method as `PyNODE.Bridge.solve!` wants it."""

    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        system = system_of(f.f)
        if y0.device.type != "cpu" or y0.dtype not in DTYPES:
            shown, problem = f"{y0.dtype} on {y0.device}", "Julia works in float64 or float32 on the CPU"
            raise InvalidArgument("y0", shown, problem, "move field and y0 there")
        if y0.shape[-1:] != (system.columns,):
            remedy = f"this field needs (..., {system.columns})"
            raise InvalidArgument("y0", tuple(y0.shape), "wrong shape", remedy)
        for held in (*system.theta, *(() if system.probes is None else (system.probes,))):
            if (held.dtype, held.device) != (y0.dtype, y0.device):
                raise StateMismatch(
                    f"the field holds {held.dtype} on {held.device}, but the state y0 is {y0.dtype} on {y0.device}; "
                    "make both the same"
                )
        known = {id(p) for p in system.theta}
        if strange := [tuple(p.shape) for p in params if id(p) not in known]:
            raise InvalidArgument("params", strange, "no parameters of the field's specification", "leave params out")
        wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (y0, ts, *params))
        return _Julia.apply(self, system, wanted, stats, ts, y0, *params)


class _Julia(torch.autograd.Function):
    """Forward: a solve in the worker, which keeps the solution.  Backward: its adjoint, from the cotangents."""

    @staticmethod
    def forward(
        ctx: Any,
        method: JuliaMethod,
        system: System,
        wanted: bool,
        stats: SolveStats,
        ts: Times,
        y0: State,
        *params: Tensor,
    ) -> States:
        session, start = default_session(), time.perf_counter()
        flat = y0.detach().reshape(-1, system.columns).numpy()
        arrays = {"theta": _theta(system, y0.dtype), "y0": flat, "ts": ts.detach().double().numpy()}
        if system.probes is not None:
            arrays["probes"] = system.probes.detach().to(y0.dtype).numpy()
        reply = session.call(
            "solve",
            {"system": system.to_json(), "options": {**method.to_bridge(ts), "gradient": wanted}},
            arrays,
            {"ys": ((len(ts), *flat.shape), flat.dtype)},
        )
        _account(stats.forward, stats, reply, start)
        _check(reply, "forward")
        # the array reshaped, not the tensor: a view could not be changed in place
        ys = torch.from_numpy(reply.arrays["ys"].reshape(len(ts), *y0.shape))
        if wanted:
            ctx.held = _Held(session, reply.value["handle"])
            ctx.system, ctx.stats, ctx.shape, ctx.dtype = system, stats, y0.shape, flat.dtype
            ctx.on_drift = getattr(method, "drift", "error")
            ctx.save_for_backward(ts, *params)
            ctx.origin = y0
        return ys

    @staticmethod
    def backward(ctx: Any, cotangents: States) -> tuple[Tensor | None, ...]:
        ts, *params = ctx.saved_tensors
        if is_batched(cotangents):
            return one_by_one(lambda each: _Julia._pullback(ctx, ts, params, each), cotangents)
        gradients = _Julia._pullback(ctx, ts, params, cotangents)
        return final(gradients, (cotangents, ts, ctx.origin, *params), "a method of the Julia backend")

    @staticmethod
    def _pullback(ctx: Any, ts: Times, params: Sequence[Tensor], cotangents: States) -> tuple[Tensor | None, ...]:
        check_cotangents(ts, cotangents)
        system, stats, start = ctx.system, ctx.stats, time.perf_counter()
        shape, dtype = (ctx.shape.numel() // system.columns, system.columns), ctx.dtype
        reply = ctx.held.session.call(
            "pullback",
            {"handle": ctx.held.handle, "times": int(ctx.needs_input_grad[4])},
            {"cotangents": np.ascontiguousarray(cotangents.detach().numpy()).reshape(len(ts), *shape)},
            {
                "grad_y0": (shape, dtype),
                "grad_theta": ((system.n_params,), dtype),
                "grad_ts": (tuple(ts.shape), "float64"),
            },
        )
        _account(stats.backward, stats, reply, start)
        _check(reply, "backward")
        if reply.value.get("drift") is not None:
            samples = sample_of_row(torch.empty(ctx.shape, device="meta"), int(reply.value["drift_sample"]) - 1)
            report_drift(stats, ctx.on_drift, reply.value["drift"], reply.value["drift_t"], samples)
        adjoint = torch.from_numpy(reply.arrays["grad_y0"]).reshape(ctx.shape)
        chunks = torch.from_numpy(reply.arrays["grad_theta"]).split([p.numel() for p in system.theta])
        by_id = {id(p): chunk.reshape(p.shape) for p, chunk in zip(system.theta, chunks, strict=True)}
        by_ts = torch.from_numpy(reply.arrays["grad_ts"]).to(ts) if ctx.needs_input_grad[4] else None
        return (None, None, None, None, by_ts, adjoint, *(by_id[id(p)] for p in params))


class _Held:
    """A solution that the worker keeps until nobody holds this object any more."""

    def __init__(self, session: Session, handle: int) -> None:
        self.session, self.handle = session, handle
        weakref.finalize(self, session.release_later, handle)


def _theta(system: System, dtype: torch.dtype) -> Any:
    return torch.cat([p.detach().reshape(-1) for p in system.theta]).to(dtype).numpy()


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
    found = reply.value
    status = Status[found["status"]]
    if status is not Status.SUCCESS:
        t, dt, norm_f = (float("nan") if found[k] is None else float(found[k]) for k in ("t", "dt", "norm_f"))
        raise SolveError(status, t=t, dt=dt, norm_f=norm_f, phase=phase)
