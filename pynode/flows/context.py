"""Contexts of flows: what a density is conditioned on, carried along by a solve as further columns of its state."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import Field
from pynode.finite import check_finite
from pynode.methods.base import GradientMethod
from pynode.types import State


class ContextField(nn.Module):
    """A module f(t, z, context) as a field of the states `(z, context)`, whose context stays as it is."""

    def __init__(self, module: nn.Module, dim: int, context: int) -> None:
        super().__init__()
        self.module, self.dim, self.context = module, dim, context

    def forward(self, t: Tensor, y: State) -> State:
        """dy/dt `(..., dim + context)`, zero for the context."""
        z, context = y[..., : self.dim], y[..., self.dim :]
        slope = self.module(t, z, context)
        if not isinstance(slope, Tensor) or slope.shape != z.shape:
            shown = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
            problem = f"it gives {shown} for z of shape {tuple(z.shape)}"
            raise InvalidArgument("fields", type(self.module).__name__, problem, "return dz/dt, of the shape of z")
        return torch.cat((slope, torch.zeros_like(context)), dim=-1)


def field_with_context(block: nn.Module, k: int, dim: int, context: int) -> nn.Module:
    """`block`, number `k` of a flow, as a field of states `(z, context)`; raises `InvalidArgument` where it is none."""
    if not isinstance(block, Field):
        return block if isinstance(block, ContextField) or not context else ContextField(block, dim, context)
    if block.spec.context_dim != context:
        kind, has = type(block.spec).__name__, block.spec.context_dim
        remedy = f"build it from {kind}(..., context={context})" if context else f"pass context={has} to the flow"
        raise InvalidArgument("context", context, f"fields[{k}] has {has} columns of context", remedy)
    return block


def check_columns(context: object) -> int:
    """The number of columns of a context, 0 for None; raises `InvalidArgument` for what is none."""
    if context is None:
        return 0
    if isinstance(context, bool) or not isinstance(context, int) or context < 0:
        shown = f"shape {tuple(context.shape)}" if isinstance(context, Tensor) else repr(context)
        remedy = "give the number of columns that the flow is conditioned on, and the context itself at each call"
        raise InvalidArgument("context", shown, "not a number of columns", remedy)
    return context


def check_context(context: object, columns: int, like: Tensor) -> Tensor | None:
    """The context of a call `(..., columns)`, None for a flow without one; raises `InvalidArgument` for what is none.

    It has the dtype and the device of `like`.
    """
    if not columns:
        if context is None:
            return None
        shown = f"a tensor of shape {tuple(context.shape)}" if isinstance(context, Tensor) else repr(context)
        remedy = "for points x call flow.log_prob(x) or flow.transport(x); for conditions build it with context=k"
        raise InvalidArgument("context", shown, "this flow has no context", remedy)
    if context is None:
        remedy = f"pass context= of shape ({columns},) or (batch, {columns})"
        raise InvalidArgument("context", None, f"this flow is conditioned on {columns} columns", remedy)
    if not isinstance(context, Tensor) or context.ndim == 0 or context.shape[-1] != columns:
        shown = str(tuple(context.shape)) if isinstance(context, Tensor) else type(context).__name__
        remedy = "pass a tensor, with one row for all samples or one for each"
        raise InvalidArgument("context", shown, f"not ({columns},) or (batch, {columns})", remedy)
    if context.dtype != like.dtype or context.device != like.device:
        shown = f"{context.dtype} on {context.device}"
        raise InvalidArgument("context", shown, f"the flow is {like.dtype} on {like.device}", "convert one of them")
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
    are divided by as much, so that they mean what they mean without a context.
    """
    return _beside_context(method, columns, context) if context and method.adaptive else method


@lru_cache(maxsize=64)
def _beside_context(method: GradientMethod, columns: int, context: int) -> GradientMethod:
    if not {"rtol", "atol"} <= {f.name for f in fields(method)}:
        return method
    options: Any = method
    scale = math.sqrt(columns / (columns + context))
    return replace(options, rtol=options.rtol * scale, atol=options.atol * scale)
