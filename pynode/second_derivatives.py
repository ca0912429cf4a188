"""Gradients that can be differentiated again, and gradients that say so where they can't.

`once_differentiable` of torch is not enough: where a loss is linear in the states, its cotangents want no gradient, and
torch hands out a gradient without a graph.  A Hessian of it is zero, without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pynode.errors import NotTwiceDifferentiable
from pynode.transforms import is_batched, one_by_one

Gradients = tuple["Tensor | None", ...]


def with_graph(states: Tensor, sources: Sequence[Tensor], cotangents: Tensor) -> tuple[Sequence[Tensor], Tensor]:
    """The gradients of `states` by `sources`, which can be differentiated again, and the copy of `cotangents` in them.

    To be called with gradients enabled; `linked` makes them functions of the original tensors.
    """
    back = cotangents.detach().requires_grad_()
    gradients = torch.autograd.grad(states, sources, back, create_graph=True, allow_unused=True, materialize_grads=True)
    return gradients, back


def linked(gradients: Sequence[Tensor], leaves: Sequence[Tensor], originals: Sequence[Tensor]) -> Gradients:
    """`gradients`, which are functions of `leaves`, as functions of `originals`, of which the leaves are copies.

    So the graph of a gradient's own evaluation stays apart from the graph in which it is used; otherwise autograd would
    find its way from one original to another through what they were made from, and count that twice.
    """
    results: tuple[Tensor, ...] = _Linked.apply(tuple(gradients), tuple(leaves), *originals)
    return results


class _Linked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        gradients: tuple[Tensor, ...],
        leaves: tuple[Tensor, ...],
        *originals: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.gradients, ctx.leaves = gradients, leaves
        ctx.save_for_backward(*originals)
        return tuple(g.detach() for g in gradients)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Gradients:
        if any(map(is_batched, cotangents)):
            return one_by_one(lambda *each: _Linked._products(ctx, *each), *cotangents)
        return _Linked._products(ctx, *cotangents)

    @staticmethod
    def _products(ctx: Any, *cotangents: Tensor) -> Gradients:
        again = torch.is_grad_enabled()
        own = [c.detach().requires_grad_(again) for c in cotangents]
        pairs = [(g, c) for g, c in zip(ctx.gradients, own, strict=True) if g.requires_grad]
        with torch.enable_grad():
            products = torch.autograd.grad(
                [g for g, _ in pairs],
                ctx.leaves,
                [c for _, c in pairs],
                retain_graph=True,
                create_graph=again,
                allow_unused=True,
                materialize_grads=True,
            )
        if again:
            return None, None, *linked(products, (*ctx.leaves, *own), (*ctx.saved_tensors, *cotangents))
        return None, None, *products


def final(gradients: Gradients, originals: Sequence[Tensor], method: str) -> Gradients:
    """`gradients` as they are, unless a graph of them is wanted: then differentiating them is a typed error.

    `originals` are the tensors that they depend on.
    """
    if not torch.is_grad_enabled():
        return gradients
    wanted = [x for x in originals if x.requires_grad]
    some = [g for g in gradients if g is not None]
    if not wanted or not some:
        return gradients
    guarded = iter(_Final.apply(method, len(some), *some, *wanted))
    return tuple(None if g is None else next(guarded) for g in gradients)


class _Final(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, method: str, n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.method = method
        return tuple(g.detach() for g in tensors[:n])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Gradients:  # noqa: ARG004
        raise NotTwiceDifferentiable(
            f"the gradient of {ctx.method} can't be differentiated again (Hessians, gradient penalties): the adjoint "
            "solve has no graph; use DiscOpt, whose gradient has derivatives of any order"
        )
