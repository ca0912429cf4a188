"""Pieces that every continuous adjoint needs, however it is solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pynode.types import State, States, Times, VectorField


def norm_of_parts(sizes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The largest of the root mean squares of the leading parts of a flat vector."""
    used = sum(sizes)
    parts = [size for size in sizes if size]

    def norm(x: Tensor) -> Tensor:
        squares = x[:used].square().split(parts)
        return torch.stack([s.mean() for s in squares]).max().sqrt()

    return norm


def time_gradient(f: VectorField, ts: Times, ys: States, cotangents: States, adjoint: State) -> Tensor:
    """dL/dts `(time,)` of the continuous problem, from the adjoint at ts[0] (its cotangent included).

    Moving a later output time moves its state along f; moving ts[0] moves the whole trajectory against it.
    """
    with torch.no_grad():
        slopes = torch.stack([f(t.to(y.dtype), y) for t, y in zip(ts, ys, strict=True)])
    by_ts = (cotangents * slopes).reshape(len(ts), -1).sum(1)
    by_ts[0] = -((adjoint - cotangents[0]) * slopes[0]).sum()
    return by_ts.to(ts)
