"""Rules for sums over columns, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.composed import root
from pynode.tapes.tracing.rules import COMPOSED, Unsupported, rule
from pynode.tapes.tracing.tracer import Tracer

MOST_ORDERED = 64
"""Columns that the first largest is looked for in, by sums of all before."""

Dims = Sequence[int] | int | None


def grouped(tracer: Tracer, x: Tensor, dims: Dims) -> tuple[Tensor, tuple[int, ...]]:
    """The labels of `x` with those of `dims` last, as one dimension; and the shape of the others."""
    n = x.dim()
    chosen = range(n) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    last = sorted(d % n for d in chosen) if n else []
    first = [d for d in range(n) if d not in last]
    own = tracer.operand(x, x.shape).permute(*first, *last)
    shape = tuple(x.shape[d] for d in first)
    return own.reshape(*shape, -1), shape


def columns_in_groups(tracer: Tracer, own: Tensor) -> tuple[lb.Rows, Tensor]:
    """How groups (all dimensions but the last) lie, and the labels `(columns, group)` of one sample."""
    parts = list(own.unbind(-1))
    rows = tracer.arranged(parts)
    return rows, torch.stack([tracer.columns_of(part, rows) for part in parts], 1)


@rule("sum")
def _sum(tracer: Tracer, result: Tensor, x: Tensor, dim: Dims = None, *_: Any, **__: Any) -> Tensor:
    own, _shape = grouped(tracer, x, dim)
    rows, columns = columns_in_groups(tracer, own)
    n_columns, n_terms = columns.shape
    to = torch.arange(n_columns)[:, None].expand(n_columns, n_terms)
    if n_terms <= n_columns:  # fewer and longer runs
        register = tracer.moved(n_columns, to.t().reshape(-1), columns.t().reshape(-1))
    else:
        register = tracer.moved(n_columns, to.reshape(-1), columns.reshape(-1))
    return tracer.result(register, rows, tuple(result.shape))


@rule("cumsum")
def _cumsum(tracer: Tracer, result: Tensor, x: Tensor, dim: int, **_: Any) -> Tensor:
    dim %= max(x.dim(), 1)
    own, shape = grouped(tracer, x, dim)
    rows, columns = columns_in_groups(tracer, own)
    n_groups, n = columns.shape
    pairs = [(g * n + j, int(columns[g, i])) for g in range(n_groups) for j in range(n) for i in range(j + 1)]
    register = tracer.moved(n_groups * n, torch.tensor([p for p, _ in pairs]), torch.tensor([c for _, c in pairs]))
    made = tracer.result(register, lb.Rows(rows.before, rows.n_samples, rows.behind * n), (*shape, n))
    return made.movedim(-1, dim).reshape(result.shape)


_LIBRARY = torch.library.Library("pynode_tapes", "DEF")
_LIBRARY.define("largest(Tensor x, int[] dim, bool keepdim) -> Tensor")
_LIBRARY.impl("largest", lambda x, dim, keepdim: torch.amax(x, dim, keepdim), "CPU")
"""The largest number along dimensions: an operator of its own, since its derivative is 0 here."""


@rule("largest")
def _largest(tracer: Tracer, result: Tensor, x: Tensor, dim: Dims = None, *_: Any) -> Tensor:
    own, _shape = grouped(tracer, x, dim)
    rows, columns = columns_in_groups(tracer, own)
    flat = columns.reshape(-1)
    source = tracer.input(flat)
    if tracer.builder.width_of(source) != len(flat):
        source = tracer.moved(len(flat), torch.arange(len(flat)), flat)
    register = tracer.builder.operation("largest", (source,), len(columns), (len(columns),))
    return tracer.result(register, rows, tuple(result.shape))


def _dims(x: Tensor, dim: Dims) -> list[int]:
    n = x.dim()
    if dim is None or dim == []:
        return list(range(n))
    return [d % n for d in ([dim] if isinstance(dim, int) else dim)]


def _count(x: Tensor, dim: Dims) -> int:
    return math.prod(x.shape[d] for d in _dims(x, dim))


def _mean(x: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    del dtype
    return x.sum(_dims(x, dim), keepdim) / _count(x, dim)


def _var(x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = (1 if unbiased in (None, True) else 0) if correction is None else correction
    dims = _dims(x, dim)
    off = x - x.mean(dims, True)
    return off.square().sum(dims, keepdim) / max(_count(x, dims) - correction, 0)


def _var_mean(x: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    keepdim = kwargs.get("keepdim", False)
    return _var(x, dim, *args, **kwargs), x.mean(_dims(x, dim), keepdim)


def _norm(x: Tensor, order: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    del dtype
    order = 2.0 if order is None else float(order)
    dims = _dims(x, dim)
    if order == 1.0:
        return x.abs().sum(dims, keepdim)
    if order == math.inf:
        return x.abs().amax(dims, keepdim)
    if order == 2.0:
        return root(x.square().sum(dims, keepdim))
    total = (x.abs() ** order).sum(dims, keepdim)
    positive = total > 0  # the derivative at 0 is 0, as torch has it
    return torch.where(positive, torch.where(positive, total, 1.0) ** (1 / order), 0.0)


def _extreme(sign: float) -> Any:
    def amax(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
        dims = _dims(x, list(dim) if isinstance(dim, (tuple, list)) else dim)
        top = sign * torch.ops.pynode_tapes.largest(sign * x, dims, True)
        hits = (x == top).to(x.dtype)
        spread = (hits * x).sum(dims, keepdim)  # the largest, with its derivative spread over all that are
        return spread / hits.sum(dims, keepdim)

    return amax


def _max(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return x.amax()
    return _first_largest(x, dim, keepdim), torch.argmax(x, dim, keepdim)


def _min(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return x.amin()
    return -_first_largest(-x, dim, keepdim), torch.argmin(x, dim, keepdim)


def _first_largest(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    """The largest along a dimension, with its derivative for the first that is."""
    if x.shape[dim] > MOST_ORDERED:
        raise Unsupported(f"it asks which of more than {MOST_ORDERED} numbers is the largest")
    hits = (x == torch.ops.pynode_tapes.largest(x, [dim % x.dim()], True)).to(x.dtype)
    first = hits * (hits.cumsum(dim) == 1)
    return (first * x).sum(dim, keepdim)


@rule("argmax", "argmin", "argsort", "sort", "topk", "median", "kthvalue", "mode")
def _places(*_: Any, **__: Any) -> Tensor:
    raise Unsupported("it asks for the order of numbers (sort, argmax, topk)")


def _softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    del half_to_float
    e = torch.exp(x - torch.ops.pynode_tapes.largest(x, [dim % x.dim()], True))
    return e / e.sum(dim, True)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    del half_to_float
    off = x - torch.ops.pynode_tapes.largest(x, [dim % x.dim()], True)
    return off - torch.log(torch.exp(off).sum(dim, True))


def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    dims = _dims(x, list(dim) if isinstance(dim, (tuple, list)) else dim)
    top = torch.ops.pynode_tapes.largest(x, dims, True)
    total = torch.log(torch.exp(x - top).sum(dims, True)) + top
    return total if keepdim else total.squeeze(tuple(dims))


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    mean = x.mean(dims, True)
    off = x - mean
    scale = torch.rsqrt(off.square().mean(dims, True) + eps)
    y = off * scale
    if weight is not None:
        y = y * weight
    return (y if bias is None else y + bias), mean, scale


def _rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None) -> tuple[Tensor, Tensor]:
    dims = list(range(x.dim() - len(shape), x.dim()))
    scale = torch.rsqrt(x.square().mean(dims, True) + (torch.finfo(x.dtype).eps if eps is None else eps))
    y = x * scale
    return (y if weight is None else y * weight), scale


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    parts = x.reshape(n, groups, -1)
    mean = parts.mean(-1, True)
    off = parts - mean
    scale = torch.rsqrt(off.square().mean(-1, True) + eps)
    y = (off * scale).reshape(n, channels, size)
    if weight is not None:
        y = y * weight[:, None]
    if bias is not None:
        y = y + bias[:, None]
    return y.reshape(x.shape), mean, scale


def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> tuple[Tensor, ...]:
    del training, momentum
    shape = (1, -1, *(1,) * (x.dim() - 2))
    y = (x - mean.reshape(shape)) * torch.rsqrt(var + eps).reshape(shape)
    y = y if weight is None else y * weight.reshape(shape)
    y = y if bias is None else y + bias.reshape(shape)
    return y, x.new_zeros(0), x.new_zeros(0)


def _batch_norm_eval(
    x: Tensor, weight: Any, bias: Any, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, ...]:
    return _batch_norm(x, weight, bias, mean, var, False, momentum, eps)


def _prod(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    if isinstance(dim, (tuple, list)):
        (dim,) = dim
    parts = (x.reshape(-1) if dim is None else x.movedim(dim, 0)).unbind(0)
    total = parts[0]
    for part in parts[1:]:
        total = total * part
    return total if dim is None or not keepdim else total.unsqueeze(dim)


COMPOSED.update(
    mean=_mean,
    var=_var,
    std=lambda *args, **kwargs: root(_var(*args, **kwargs)),
    var_mean=_var_mean,
    linalg_vector_norm=_norm,
    norm=_norm,
    _cdist_forward=lambda a, b, p, *_: _norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1),
    amax=_extreme(1.0),
    amin=_extreme(-1.0),
    max=_max,
    min=_min,
    _softmax=_softmax,
    _log_softmax=_log_softmax,
    logsumexp=_logsumexp,
    native_layer_norm=_layer_norm,
    _fused_rms_norm=_rms_norm,
    native_group_norm=_group_norm,
    native_batch_norm=_batch_norm,
    _native_batch_norm_legit_no_training=_batch_norm_eval,
    prod=_prod,
)
