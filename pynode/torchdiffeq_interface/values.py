"""Values of func and y0: checked, and as one vector and back where they are tuples of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pynode.errors import StateMismatch

ADVICE = "a derivative has one number for each entry of y"

Func: TypeAlias = Callable[[Any, Any], Any]
"""`func(t, y) -> dy/dt`, or an event function; `y` is a tensor or a tuple of tensors."""

Y: TypeAlias = "Tensor | tuple[Tensor, ...]"


def difference(slope: Any, y: Tensor) -> str | None:
    """What sets the derivative `slope` apart from the state `y`, as a sentence; None where nothing does."""
    if not isinstance(slope, Tensor):
        return f"func(t, y) returned {type(slope).__name__}, not a tensor; return dy/dt of shape {tuple(y.shape)}"
    for what, got, want in (
        ("shape", tuple(slope.shape), tuple(y.shape)),
        ("dtype", slope.dtype, y.dtype),
        ("device", slope.device, y.device),
    ):
        if got != want:
            return f"func(t, y) has {what} {got}, but the state has {what} {want}; make both the same ({ADVICE})"
    return None


def check_usable(slope: Any, y: Tensor) -> None:
    """Raises `StateMismatch` where no solver could use the derivative `slope` of `y`, or would drop a part of it.

    Another dtype, a shape that broadcasts, and a plain number are usable, as in torchdiffeq.
    """
    if not isinstance(slope, Tensor):
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise StateMismatch(str(difference(slope, y)))
        return
    if slope.is_complex() and not y.is_complex():
        raise StateMismatch(
            f"func(t, y) has dtype {slope.dtype}, but the state has dtype {y.dtype}: the imaginary part would be lost; "
            "pass a complex y0, or return the real part"
        )
    if slope.shape != y.shape and not _broadcasts(slope.shape, y.shape):
        raise StateMismatch(str(difference(slope, y)))


def checked_parts(slope: Any, y: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The derivative of a tuple as a tuple; raises `StateMismatch` unless it fits `y` part by part.

    Each part needs as many entries as that of `y`; where `y` has one part alone, it may be broadcast.
    """
    if not isinstance(slope, Iterable) or (isinstance(slope, Tensor) and not slope.ndim):
        raise StateMismatch(
            f"func(t, y) returned {type(slope).__name__}, but y0 is a tuple of {len(y)}; return one tensor for each"
        )
    parts = tuple(slope)
    if len(parts) != len(y):
        raise StateMismatch(
            f"func(t, y) returned {len(parts)} parts, but y0 is a tuple of {len(y)}; return one tensor for each"
        )
    for k, (part, of) in enumerate(zip(parts, y, strict=True)):
        if not isinstance(part, Tensor):
            raise StateMismatch(f"part {k} of func(t, y) is {type(part).__name__}, not a tensor; return one for each")
        if part.is_complex() and not of.is_complex():
            check_usable(part, of)
        if part.numel() != of.numel() and not (len(y) == 1 and _broadcasts(part.shape, of.shape)):
            raise StateMismatch(
                f"part {k} of func(t, y) has shape {tuple(part.shape)}, but that of y0 has shape {tuple(of.shape)}; "
                f"make both the same ({ADVICE})"
            )
    return parts


def without_leading_ones(shape: torch.Size) -> tuple[int, ...]:
    """`shape` without the axes of length one in front, which broadcasting adds and takes away."""
    axes = list(shape)
    while axes and axes[0] == 1:
        del axes[0]
    return tuple(axes)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    """Whether a tensor of `shape` can be added to one of shape `to` without changing its entries' number."""
    try:
        together = torch.broadcast_shapes(shape, to)
    except RuntimeError:
        return False
    return without_leading_ones(together) == without_leading_ones(to)


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
