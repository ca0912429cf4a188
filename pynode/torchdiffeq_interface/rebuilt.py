"""`odeint_adjoint` of a func that may read more than its parameters, and that may be changed after the solve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pynode.evaluation import CountedField
from pynode.precision import kept_precision, products_as_kept
from pynode.rebuilding import Rebuilding, save, saved
from pynode.second_derivatives import final
from pynode.solution import Cost
from pynode.torchdiffeq_interface.values import Func, Y, check_usable, flat_func, flattened
from pynode.transforms import is_batched, one_by_one

Run = Callable[[Func, Y, Tensor, Sequence[Tensor]], Any]
"""Solves by torchdiffeq's adjoint: from func, y0, t and the tensors that need a gradient."""


def rebuilding_for(func: Func, y0: Y, t: Tensor, params: Sequence[Tensor]) -> Rebuilding | None:
    """What the gradient of a solve has to know of `func`; None where no gradient is wanted, or y0 has no derivative.

    A module's parameters that are not among `params` have been left out by the user and get no gradient.
    """
    flat = flattened(y0)
    if not torch.is_grad_enabled() or not (flat.is_floating_point() or flat.is_complex()):
        return None
    fitting = CountedField(_Fitting(flat_func(func, y0)), Cost())
    left_out = tuple(func.parameters()) if isinstance(func, nn.Module) else ()
    rebuilding = Rebuilding(fitting, flat, t[0], params, method="odeint_adjoint", without=left_out)
    parts = (y0,) if isinstance(y0, Tensor) else y0
    return rebuilding if any(x.requires_grad for x in (t, *parts, *rebuilding.sources)) else None


def solve(run: Run, rebuilding: Rebuilding, func: Func, y0: Y, t: Tensor) -> Any:
    """The result of `run`, as a node whose gradient evaluates `func` as it was during the solve."""
    parts = (y0,) if isinstance(y0, Tensor) else y0
    structure: list[Any] = []
    states = _Adjoint.apply(
        run, rebuilding, func, isinstance(y0, Tensor), structure, t, len(parts), *parts, *rebuilding.sources
    )
    return _packed(structure[0], iter(states))


class _Adjoint(torch.autograd.Function):
    """Torchdiffeq's own node, inside another one that knows all sources and puts the func into its former state."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Run,
        rebuilding: Rebuilding,
        func: Func,
        single: bool,
        structure: list[Any],
        t: Tensor,
        n: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        own = [x.detach().requires_grad_(x.requires_grad) for x in (t, *tensors[:n])]
        with torch.enable_grad():
            y0: Any = own[1] if single else tuple(own[1:])
            result = run(_Checked(func, rebuilding, kept_precision()), y0, own[0], rebuilding.leaves)
        inner: list[Tensor] = []
        structure.append(_unpacked(result, inner))
        last = [x.detach()[-1] if x.ndim else x.detach() for x in inner]
        y_end = last[-1] if single else torch.cat([x.reshape(-1) for x in last[-n:]])
        rebuilding.settle(float(t[-1]), y_end)
        ctx.inner, ctx.own, ctx.given = inner, own, (t, *tensors[:n])
        ctx.precision = kept_precision()
        save(ctx, rebuilding)
        return tuple(x.detach() for x in inner)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        rebuilding, _ = saved(ctx)

        def pull(*each: Tensor) -> tuple[Tensor | None, ...]:
            pairs = [(x, c) for x, c in zip(ctx.inner, each, strict=True) if x.requires_grad]
            wanted = [x for x in (*ctx.own, *rebuilding.leaves) if x.requires_grad]
            with torch.no_grad(), products_as_kept(ctx.precision), rebuilding.as_it_was():
                gradients = torch.autograd.grad(
                    [x for x, _ in pairs], wanted, [c for _, c in pairs], retain_graph=True, allow_unused=True
                )
            by_id = {id(x): g for x, g in zip(wanted, gradients, strict=True)}
            return tuple(by_id.get(id(x)) for x in (*ctx.own, *rebuilding.leaves))

        batched = any(map(is_batched, cotangents))
        by_t, *others = one_by_one(pull, *cotangents) if batched else pull(*cotangents)
        originals = (*cotangents, *ctx.given, *rebuilding.sources)
        by_t, *others = final((by_t, *others), originals, "odeint_adjoint")
        return None, None, None, None, None, by_t, None, *others


class _Checked:
    """A func in the precision of the solve, whose graphs are checked; it has the callbacks of the user's func."""

    def __init__(self, func: Func, rebuilding: Rebuilding, precision: str | None) -> None:
        self.func, self._rebuilding, self._precision = func, rebuilding, precision

    def __call__(self, t: Any, y: Any) -> Any:
        with products_as_kept(self._precision):
            slope = self.func(t, y)
        if torch.is_grad_enabled():
            parts = (t, *(y if isinstance(y, tuple) else (y,)))
            given = [x for x in parts if isinstance(x, Tensor) and x.requires_grad]
            for value in slope if isinstance(slope, (tuple, list)) else (slope,):
                if isinstance(value, Tensor):
                    self._rebuilding.check_graph(value, *given)
        return slope

    def __getattr__(self, name: str) -> Any:
        if name.startswith("callback_"):
            return getattr(self.func, name)
        raise AttributeError(name)


class _Fitting:
    """A func whose derivative has the shape of the state, where torchdiffeq takes one that broadcasts, or a number."""

    def __init__(self, func: Func) -> None:
        self.func = func

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        slope = self.func(t, y)
        check_usable(slope, y)
        slope = slope if isinstance(slope, Tensor) else torch.full_like(y, slope)
        try:
            fitting = slope.expand(y.shape)
        except RuntimeError:  # more dimensions than the state has, all of them one
            fitting = slope.reshape(slope.shape[-y.ndim :] if y.ndim else ()).expand(y.shape)
        return fitting if fitting.dtype == y.dtype else fitting.to(y.dtype)


def _unpacked(result: Any, tensors: list[Tensor]) -> Any:
    """Collects the tensors of a result; returns it with numbers in their places."""
    if isinstance(result, tuple):
        return tuple(_unpacked(part, tensors) for part in result)
    tensors.append(result)
    return len(tensors) - 1


def _packed(structure: Any, tensors: Any) -> Any:
    if isinstance(structure, tuple):
        return tuple(_packed(part, tensors) for part in structure)
    return next(tensors)
