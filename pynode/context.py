"""Contexts: what the field of each sample is conditioned on, carried along as further columns of its state."""

from __future__ import annotations

import copy
import math
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import Field
from pynode.finite import check_finite
from pynode.forward_arguments import first, is_open, required, signature_of, starts_with_time
from pynode.methods.base import GradientMethod
from pynode.types import State

TOLERANCES = ("rtol", "atol", "adjoint_rtol", "adjoint_atol")
"""Fields of adaptive methods that are measured by the root mean square over a state; None stands for another's."""


class ContextField(nn.Module):
    """A module f(t, y, context) as a field of the states `(y, context)`, whose context stays as it is."""

    def __init__(self, module: nn.Module, columns: int) -> None:
        super().__init__()
        self.module, self.columns = module, columns

    def forward(self, t: Tensor, state: State) -> State:
        """The derivative `(..., dim + columns)`, zero for the context."""
        dim = state.shape[-1] - self.columns
        y, context = state[..., :dim], state[..., dim:]
        slope = self.module(t, y, context)
        if not isinstance(slope, Tensor) or slope.shape != y.shape:
            shown = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
            problem = f"it gives {shown} for a state of shape {tuple(y.shape)}"
            raise InvalidArgument("field", type(self.module).__name__, problem, "return the derivative of the state")
        return torch.cat((slope, torch.zeros_like(context)), dim=-1)


def check_tensor(argument: str, value: object) -> Tensor:
    """`value` itself; raises `InvalidArgument` for arrays of NumPy, data frames, and all else that is no tensor."""
    if not isinstance(value, Tensor):
        raise InvalidArgument(argument, type(value).__name__, "not a tensor", "pass torch.as_tensor(...) of numbers")
    return value


def with_context(field: nn.Module, columns: int, name: str = "field") -> nn.Module:
    """`field` as one of states `(y, context)` with so many columns of context; itself where there are none.

    Raises `InvalidArgument`, which calls it `name`, for a module that takes other arguments, and for a field from a
    specification, or of another model, with another context.
    """
    if isinstance(field, ContextField):
        if field.columns != columns:
            kind, has = type(field.module).__name__, field.columns
            remedy = f"pass context={has}, or {name}.module with a context of its own"
            raise InvalidArgument("context", columns, f"{name} is a {kind} with {has} columns of context", remedy)
        return field
    if not isinstance(field, Field):
        _check_arguments(field, columns, name)
        return ContextField(field, columns) if columns else field
    if field.spec.context_dim != columns:
        kind, has = type(field.spec).__name__, field.spec.context_dim
        remedy = f"build it from {kind}(..., context={columns})" if columns else f"pass context={has}"
        raise InvalidArgument("context", columns, f"{name} has {has} columns of context", remedy)
    return field


def _check_arguments(field: nn.Module, columns: int, name: str) -> None:
    if (signature := signature_of(field)) is None:
        return
    kind, wanted = type(field).__name__, ("t", "y", "context") if columns else ("t", "y")
    try:
        signature.bind(*wanted)
    except TypeError as error:
        if columns:
            problem, remedy = "its forward takes no context", "write forward(self, t, y, context)"
        else:
            problem = f"its forward can't be called as f(t, y) ({error})"
            remedy = "write forward(self, t, y), or pass context=k where it takes a context"
        raise InvalidArgument(name, kind, problem, remedy) from None
    if is_open(signature) or starts_with_time(signature) or len(required(signature)) >= len(wanted):
        return
    # f(y, mask=None) or f(y, context, mask=None) can be called with the time first, which is then taken for the state
    shown = ", ".join(signature.parameters)
    problem = f"its forward({shown}) has arguments with defaults, so that t would be taken for '{first(signature)}'"
    raise InvalidArgument(name, kind, problem, f"write forward(self, {', '.join(wanted)})")


def check_columns(context: object) -> int:
    """The number of columns of a context, 0 for None; raises `InvalidArgument` unless it is None or an integer >= 0."""
    if context is None:
        return 0
    if isinstance(context, bool) or not isinstance(context, int) or context < 0:
        shown = f"shape {tuple(context.shape)}" if isinstance(context, Tensor) else repr(context)
        remedy = "give the number of columns that the flow is conditioned on, and the context itself at each call"
        raise InvalidArgument("context", shown, "not a number of columns", remedy)
    return context


def check_context(context: object, columns: int, like: Tensor, remedy: str) -> Tensor | None:
    """The context of a call `(..., columns)`, None where there are none.

    Raises `InvalidArgument` unless it is a tensor of that shape, with the dtype and the device of `like`.
    `remedy` is for a context where none is expected.
    """
    if not columns:
        if context is None:
            return None
        shown = f"a tensor of shape {tuple(context.shape)}" if isinstance(context, Tensor) else repr(context)
        raise InvalidArgument("context", shown, "this model has no context", remedy)
    wanted = f"({columns},) or (batch, {columns})"
    if context is None:
        raise InvalidArgument(
            "context", None, f"this model has {columns} columns of context", f"pass one of shape {wanted}"
        )
    context = check_tensor("context", context)
    if context.ndim == 0 or context.shape[-1] != columns:
        advice = "pass a tensor, with one row for all samples or one for each"
        raise InvalidArgument("context", tuple(context.shape), f"not {wanted}", advice)
    if context.dtype != like.dtype or context.device != like.device:
        shown, problem = f"{context.dtype} on {context.device}", f"the model is {like.dtype} on {like.device}"
        raise InvalidArgument("context", shown, problem, "convert one of them")
    if context.is_cpu:
        check_finite("context", context, "check the data")
    return context


def rows_of_context(context: Tensor | None, n: int) -> Tensor | None:
    """The context `(columns,)` or `(n, columns)` as one row for each of `n` samples; raises `InvalidArgument`."""
    if context is None or (context.ndim == 2 and len(context) == n):
        return context
    if context.ndim == 2 and len(context) == 1:
        context = context[0]
    if context.ndim > 1:
        remedy = "pass one row for each sample, or flow(context).sample((n,)) for n samples of each row"
        raise InvalidArgument("context", tuple(context.shape), f"not one row for each of {n} samples", remedy)
    return context.expand(n, -1)


def beside_context(method: GradientMethod, columns: int, context: int) -> GradientMethod:
    """`method` for states of `columns` with `context` columns more, which do not change.

    Adaptive steps measure the root mean square over a state, which columns without an error make smaller: tolerances
    of the solve and of its adjoint are divided by as much, so that they mean what they mean without a context.  Raises
    `InvalidArgument` for an adaptive method that has no `rtol` and `atol`.
    """
    if not context or not method.adaptive:
        return method
    scaled = _beside_context(method, math.sqrt(columns / (columns + context)))
    if (run := method.__dict__.get("run")) is not None:  # the method is watched, see `explain_first_solve`
        scaled = copy.copy(scaled)
        scaled.__dict__["run"] = run
    return scaled


@lru_cache(maxsize=64)
def _beside_context(method: GradientMethod, scale: float) -> GradientMethod:
    options: Any = method
    names = {f.name for f in fields(options)}
    if not {"rtol", "atol"} <= names:
        problem = "its steps are adaptive, but it has no rtol and atol, which a context makes smaller"
        remedy = "give it fields rtol and atol, or use OptDisc or DiscOpt"
        raise InvalidArgument("method", method.name, problem, remedy)
    tolerances = {name: getattr(options, name) for name in TOLERANCES if name in names}
    return replace(options, **{name: scale * value for name, value in tolerances.items() if value is not None})
