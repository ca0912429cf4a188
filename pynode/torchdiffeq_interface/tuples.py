"""States that are tuples of tensors, as one vector and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pynode.torchdiffeq_interface.values import checked_parts

Func: TypeAlias = Callable[[Any, Any], Any]
"""`func(t, y) -> dy/dt`, or an event function; `y` is a tensor or a tuple of tensors."""

Y: TypeAlias = "Tensor | tuple[Tensor, ...]"


def shapes_of(y0: Y) -> list[torch.Size] | None:
    """The shapes of a tuple's parts; None for a tensor."""
    return None if isinstance(y0, Tensor) else [part.shape for part in y0]


def flattened(y: Y) -> Tensor:
    """A tensor as it is, a tuple as one vector; torch promotes the dtypes of its parts."""
    return y if isinstance(y, Tensor) else flatten(y)


def flatten(parts: Iterable[Tensor]) -> Tensor:
    """All entries of the parts as one vector."""
    return torch.cat([part.reshape(-1) for part in parts])


def unflatten(flat: Tensor, shapes: Sequence[torch.Size], leading: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
    """The parts of vectors `flat` `(*leading, entries)`."""
    parts = flat.split([shape.numel() for shape in shapes], dim=-1)
    return tuple(part.reshape((*leading, *shape)) for part, shape in zip(parts, shapes, strict=True))


class FlatFunc(nn.Module):
    """A func on tuples as a field on one vector."""

    def __init__(self, func: Func, shapes: list[torch.Size]) -> None:
        super().__init__()
        self.func, self.shapes = func, shapes
        self.wraps_callable = not isinstance(func, nn.Module)  # then its tensors are no parameters of this module

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        parts = unflatten(y, self.shapes)
        return flatten(checked_parts(self.func(t, parts), parts))


def flat_func(func: Func, y0: Y) -> Func:
    """`func` on tensors: itself where `y0` is one, a `FlatFunc` where it is a tuple."""
    shapes = shapes_of(y0)
    return func if shapes is None else FlatFunc(func, shapes)
