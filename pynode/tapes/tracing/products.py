"""Rules for products of matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pynode.tapes.operations import STATE
from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.labels import LITERALS, Rows
from pynode.tapes.tracing.rules import COMPOSED, Unsupported, rule
from pynode.tapes.tracing.tracer import Tracer

MOST_ENTRIES = 1 << 20
"""Entries of the matrix that a convolution is."""

MOST_PRODUCTS = 256
"""Products with one matrix that a tape may have in place of one with rows that a sample has several of."""


def is_fixed(tracer: Tracer, own: Tensor) -> bool:
    """Whether labels depend on no sample."""
    return not bool(tracer.depends_on_state(own).any())


def matrix_input(tracer: Tracer, own: Tensor) -> int:
    """The matrix with these labels `(out, in)`, which depend on no sample: a constant, or one of time."""
    if bool((lb.sources(own) < 0).all()):
        return tracer.builder.matrix(own)
    n_out, n_in = own.shape
    row = tracer.input(own.reshape(-1))
    if tracer.builder.width_of(row) != n_out * n_in:
        row = tracer.moved(n_out * n_in, torch.arange(n_out * n_in), own.reshape(-1))
    return tracer.builder.operation("matrix", (row,), n_out * n_in, (n_out, n_in))


def rows_of(tracer: Tracer, own: Tensor) -> Rows | None:
    """How the numbers of `own` `(rows, terms)` lie, if every row is one sample's."""
    rows = tracer.arranged([own])
    return rows if rows.behind % own.shape[1] == 0 else None


def times_matrix(tracer: Tracer, x: Tensor, matrix: int, n_out: int, bias: tuple[int, ...] = ()) -> Tensor | None:
    """The labels of x W^T + bias for labels x `(rows, in)` and a matrix `(out, in)`; None where rows mix samples."""
    rows = rows_of(tracer, x)
    if rows is None:
        return None
    n_in = x.shape[1]
    columns = tracer.columns_of(x, rows)
    groups = columns.reshape(-1, n_in)
    if len(groups) > MOST_PRODUCTS:
        raise Unsupported("it multiplies too many rows of one sample by a matrix")
    made = []
    for group in groups:
        source = tracer.input(group)
        if tracer.builder.width_of(source) != n_in:
            source = tracer.moved(n_in, torch.arange(n_in), group)
        register = tracer.builder.operation("linear", (source, matrix, *bias), n_out)
        which = torch.arange(rows.n_samples)[:, None] if tracer.builder.layer_of(register) == STATE else None
        made.append(lb.label(register, torch.arange(n_out).expand(rows.n_samples, -1), which))
    stacked = torch.stack(made, 1).reshape(rows.n_samples, -1)
    behind = rows.behind // n_in * n_out
    return Rows(rows.before, rows.n_samples, behind).tensor(stacked, (x.shape[0], n_out))


def product(tracer: Tracer, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """The labels of a b (+ bias) for labels `(n, k)` and `(k, m)` of matrices one of which depends on no sample.

    None where that is not so, or the product must be taken apart.
    """
    if a.shape[1] == 0:
        return None
    rows: tuple[int, ...] = ()
    if is_fixed(tracer, b) and (_has_registers(a) or _is_repeated(tracer, a)):
        matrix = matrix_input(tracer, b.t())
        if bias is not None:
            rows = (tracer.input(bias),)
            if tracer.builder.width_of(rows[0]) != b.shape[1] or rows[0] >= 0:
                return None
        return times_matrix(tracer, a, matrix, b.shape[1], rows)
    if bias is None and is_fixed(tracer, a) and (_has_registers(b) or _is_repeated(tracer, b)):
        made = times_matrix(tracer, b.t(), matrix_input(tracer, a), a.shape[0])
        return None if made is None else made.t()
    return None


def _has_registers(own: Tensor) -> bool:
    return bool((lb.sources(own) >= 0).any())


def _is_repeated(tracer: Tracer, own: Tensor) -> bool:
    """Whether there is a row for each sample, though all are alike."""
    return tracer.n_samples > 1 and own.shape[0] % tracer.n_samples == 0


@rule("mm")
def _mm(tracer: Tracer, result: Tensor, a: Tensor, b: Tensor) -> Tensor:  # noqa: ARG001
    made = product(tracer, tracer.operand(a, a.shape), tracer.operand(b, b.shape))
    if made is None:
        made = _apart(tracer, a, b)
    return made


@rule("addmm")
def _addmm(
    tracer: Tracer, result: Tensor, start: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    if beta == 1 and alpha == 1 and start.dim() == 1 and start.shape[0] == b.shape[1]:
        bias = tracer.operand(start, start.shape)
        fixed = bool((lb.sources(bias) < 0).all()) and not bool((lb.sources(bias) == LITERALS).all())
        if fixed:
            made = product(tracer, tracer.operand(a, a.shape), tracer.operand(b, b.shape), bias)
            if made is not None:
                return made
    with tracer:
        product_ = torch.mm(a, b)
        total = beta * start + alpha * product_
    return tracer.operand(total, result.shape)


def _apart(tracer: Tracer, a: Tensor, b: Tensor) -> Tensor:
    if a.shape[0] * a.shape[1] * b.shape[1] > 1 << 21:
        raise Unsupported("it multiplies matrices that depend on the sample and are too large")
    with tracer:
        total = (a[:, :, None] * b[None]).sum(1)
    return tracer.operand(total, total.shape)


@rule("bmm")
def _bmm(tracer: Tracer, result: Tensor, a: Tensor, b: Tensor) -> Tensor:
    n = a.shape[0]
    own_a, own_b = tracer.operand(a, a.shape), tracer.operand(b, b.shape)
    if n > 1 and n % tracer.n_samples == 0 and tracer.n_samples > 1:
        same_b = bool((lb.without_samples(own_b) == lb.without_samples(own_b[:1])).all())
        same_a = bool((lb.without_samples(own_a) == lb.without_samples(own_a[:1])).all())
        if same_b and is_fixed(tracer, own_b):
            made = product(tracer, own_a.reshape(-1, a.shape[2]), own_b[0])
            if made is not None:
                return made.reshape(result.shape)
        if same_a and is_fixed(tracer, own_a):
            flat = own_b.transpose(1, 2).reshape(-1, b.shape[1])
            made = product(tracer, flat, own_a[0].t())
            if made is not None:
                return made.reshape(n, b.shape[2], a.shape[1]).transpose(1, 2)
    elif n <= MOST_PRODUCTS:
        made_each = [product(tracer, x, m) for x, m in zip(own_a, own_b, strict=True)]
        if all(made is not None for made in made_each):
            return torch.stack([made for made in made_each if made is not None])
    if a.numel() * b.shape[2] > 1 << 21:
        raise Unsupported("it multiplies matrices that depend on the sample and are too large")
    with tracer:
        total = (a[:, :, :, None] * b[:, None]).sum(2)
    return tracer.operand(total, total.shape)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Any:
    """As a product with the matrix that the convolution is for this size, whose rows it gives for unit inputs."""
    inside = tuple(x.shape[1:])
    n_in = math.prod(inside)
    basis = torch.eye(n_in, dtype=x.dtype).reshape(n_in, *inside)
    rows = torch.ops.aten.convolution(basis, weight, None, *options)
    if rows.numel() > MOST_ENTRIES:
        raise Unsupported("it has a convolution that is a large matrix")
    made = torch.mm(x.reshape(-1, n_in), rows.reshape(n_in, -1)).reshape(-1, *rows.shape[1:])
    return made if bias is None else made + bias.reshape(-1, *(1,) * (len(inside) - 1))


def _trilinear(
    a: Tensor, b: Tensor, c: Tensor, in_a: list[int], in_b: list[int], in_c: list[int], sums: list[int], *_: Any
) -> Tensor:
    factors = []
    for x, new in ((a, in_a), (b, in_b), (c, in_c)):
        for d in sorted(new):
            x = x.unsqueeze(d)
        factors.append(x)
    return (factors[0] * factors[1] * factors[2]).sum(sums)


def _cross(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    a0, a1, a2 = a.unbind(dim)
    b0, b1, b2 = b.unbind(dim)
    return torch.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0), dim)


COMPOSED.update(
    mv=lambda m, x: torch.mm(m, x[:, None])[:, 0],
    dot=lambda a, b: (a * b).sum(),
    vdot=lambda a, b: (a * b).sum(),
    addmv=lambda start, m, x, beta=1, alpha=1: beta * start + alpha * torch.mm(m, x[:, None])[:, 0],
    baddbmm=lambda start, a, b, beta=1, alpha=1: beta * start + alpha * torch.bmm(a, b),
    linear=lambda x, W, bias=None: torch.matmul(x, W.t()) if bias is None else torch.matmul(x, W.t()) + bias,
    convolution=_convolution,
    linalg_cross=_cross,
    _trilinear=_trilinear,
)
