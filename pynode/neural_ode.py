"""A neural ODE as a layer: a module of torch, for use inside larger models."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from pynode.context import beside_context, check_columns, check_context, with_context
from pynode.errors import InvalidArgument
from pynode.evaluation import checked_params, parameters_of
from pynode.fields.base import Field
from pynode.grid import check_times
from pynode.methods.base import GradientMethod, check_field, check_method
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.types import State, States, Times

Output: TypeAlias = Literal["all", "last"]
OUTPUTS: tuple[Output, ...] = ("all", "last")

DEFAULT = DiscOpt(RK4, steps=8)
"""How it is solved where nobody says otherwise: so many steps from one output time to the next."""


class NeuralODE(nn.Module):
    """Solves dy/dt = field(t, y) from the states that it is given, by any gradient method.

        layer = pynode.NeuralODE(field, pynode.DiscOpt(steps=4), ts=[0.0, 1.0], output="last")
        classifier = nn.Sequential(nn.Linear(4, 16), layer, nn.Linear(16, 3))

    `field` is a module f(t, y) of states `(..., dim)`, or a module of y alone such as an `nn.Sequential`; with
    `context=k` a module f(t, y, context) that sees k further numbers of every sample.  `method` may be changed at any
    time; it holds no parameters.  `ts` are the output times `(time,)`, which a call may replace; as an `nn.Parameter`
    they are trained.  `output` says what a call gives: the states at all of `ts` `(time, ..., dim)`, or the last one
    `(..., dim)`.  After a call `stats` holds the work of its solve, and after the backward pass that of its gradient.

    Parameters have the dtype of the states: `field.float()` for single precision.
    """

    stats: SolveStats | None

    def __init__(
        self,
        field: nn.Module,
        method: GradientMethod = DEFAULT,
        ts: Times | Sequence[float] | None = None,
        *,
        output: Output = "all",
        context: int | None = None,
    ) -> None:
        super().__init__()
        _check_module(field)
        check_method(method)
        if output not in OUTPUTS:
            raise InvalidArgument("output", repr(output), "unknown", f"use one of {', '.join(OUTPUTS)}")
        self.context_dim = check_columns(context)
        alone = not self.context_dim and _takes_state_alone(field)
        self.field = _OfState(field) if alone else with_context(field, self.context_dim)
        self.method, self.output = method, output
        self.ts = None if ts is None else _times(ts)
        self.stats = None

    def forward(
        self,
        y0: State,
        ts: Times | Sequence[float] | None = None,
        context: Tensor | None = None,
        *,
        params: Sequence[Tensor] | None = None,
    ) -> States:
        """The states at `ts`, or at the times of the module, from `y0` `(..., dim)`; `(..., dim)` with output="last".

        `context` `(k,)` or `(..., k)` is that of all samples or of each.  `params` are tensors that the field reads
        beside its parameters and that want a gradient.  Raises what `method.solve` raises.
        """
        times = self.ts if ts is None else _times(ts)
        if times is None:
            raise InvalidArgument("ts", None, "there are no output times", "pass ts to the module or to this call")
        check_method(self.method)
        if not isinstance(y0, Tensor) or y0.ndim == 0:
            shown = "a scalar" if isinstance(y0, Tensor) else type(y0).__name__
            raise InvalidArgument("y0", shown, "not a tensor of shape (..., dim)", "pass one row of numbers a sample")
        state, method = y0, self.method
        like = next(self.field.parameters(), y0) if y0.is_floating_point() else y0
        if y0.dtype != like.dtype:
            remedy = f"convert one of them, e.g. field.to({y0.dtype})"
            raise InvalidArgument("y0", y0.dtype, f"the field is {like.dtype}", remedy)
        rows = check_context(context, self.context_dim, y0, "leave it out, or build the module with context=k")
        if rows is not None:
            state = torch.cat((y0, _expanded(rows, y0)), dim=-1)
            method = beside_context(method, y0.shape[-1], self.context_dim)
        read = checked_params(params)
        named = list({id(p): p for p in (*parameters_of(self.field), *read)}.values()) if read else None
        solution = method.solve(self.field, state, times, params=named)
        self.stats = solution.stats
        states = solution.ys if rows is None else solution.ys[..., : y0.shape[-1]]
        return states if self.output == "all" else states[-1]

    def extra_repr(self) -> str:
        """The method and the output times, for `print`."""
        times = (
            "" if self.ts is None else f", {len(self.ts)} times from {float(self.ts[0]):g} to {float(self.ts[-1]):g}"
        )
        return f"{self.method.label}{times}, output={self.output!r}"


class _OfState(nn.Module):
    """A module of y alone as a field f(t, y)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.__name__ = type(module).__name__  # as messages call it

    def forward(self, t: Tensor, y: State) -> State:  # noqa: ARG002 (autonomous)
        """dy/dt `(..., dim)`."""
        slope: State = self.module(y)
        return slope


def _takes_state_alone(field: nn.Module) -> bool:
    if isinstance(field, Field):
        return False
    try:
        parameters = inspect.signature(field.forward).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    return len(positional) == 1 and positional[0].kind is not inspect.Parameter.VAR_POSITIONAL


def _check_module(field: object) -> None:
    check_field(field)
    if not isinstance(field, nn.Module):
        problem = "a function, whose parameters a module can't hold"
        raise InvalidArgument("field", repr(field), problem, "write a torch.nn.Module with forward(t, y)")


def _times(ts: Any) -> Times:
    """Output times as a tensor; raises `InvalidArgument` unless they are strictly monotone numbers."""
    if not isinstance(ts, Tensor):
        try:
            if isinstance(ts, str):
                raise TypeError
            ts = torch.tensor([float(t) for t in ts], dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise InvalidArgument("ts", repr(ts), "not a list of times", "pass e.g. [0.0, 0.5, 1.0]") from error
    check_times(ts)
    return ts


def _expanded(context: Tensor, y0: State) -> Tensor:
    """The context with the leading shape of `y0`."""
    shape = (*y0.shape[:-1], context.shape[-1])
    try:
        return context.expand(shape)
    except RuntimeError:
        problem = f"it does not broadcast with states of shape {tuple(y0.shape)}"
        raise InvalidArgument("context", tuple(context.shape), problem, "pass one row for each sample") from None
