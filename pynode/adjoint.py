"""Pieces that every continuous adjoint needs, however it is solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from pynode.deferred import Checks
from pynode.errors import CotangentError
from pynode.finite import is_finite
from pynode.samples import non_finite_samples
from pynode.solution import Status
from pynode.types import State, States, Times, VectorField
from pynode.world import World


def check_cotangents(ts: Times, cotangents: States, checks: Checks | None = None) -> None:
    """Raises `CotangentError` with the time and the samples where `cotangents` `(time, ...)` are not finite.

    On a device with `checks`, when those are read.
    """
    if checks is not None and not cotangents.is_cpu:
        checks.add(torch.isfinite(cotangents).all(), lambda: _not_finite(ts, cotangents))
    elif not is_finite(cotangents):
        _not_finite(ts, cotangents)


def _not_finite(ts: Times, cotangents: States) -> NoReturn:
    rows = torch.isfinite(cotangents.reshape(len(cotangents), -1)).all(1)
    first = cotangents[int(rows.long().argmin())]
    value = "NaN" if bool(torch.isnan(first).any()) else "infinite"
    t = float(ts[int(rows.long().argmin())].detach())
    raise CotangentError(Status.NON_FINITE, value, t=t, samples=non_finite_samples(first))


def norm_of_parts(sizes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The largest of the root mean squares of the leading parts of a flat vector."""
    used = sum(sizes)
    parts = [size for size in sizes if size]

    def norm(x: Tensor) -> Tensor:
        squares = x[:used].square().split(parts)
        return torch.stack([s.mean() for s in squares]).max().sqrt()

    return norm


def norm_over_ranks(world: World, sizes: Sequence[int], parts: Sequence[int], split: int) -> Callable[[Tensor], Tensor]:
    """The largest of some root mean squares, taken over the vectors of all ranks: the number that one process would
    find for the whole batch, with the same bits on every rank.

    `sizes` are those of the leading pieces of this rank's vector, `parts` says to which root mean square each belongs.
    The first `split` pieces are shares of the whole; the others are the same on all ranks, and count once.
    """
    used = sum(sizes)
    mine = [i < split or world.is_writer for i in range(len(sizes))]

    def norm(x: Tensor) -> Tensor:
        squares = x.reshape(-1)[:used].square().split(list(sizes))
        totals = torch.stack([s.sum(dtype=torch.float64) for s in squares]).tolist()
        sums = torch.zeros(2, max(parts) + 1, dtype=torch.float64)  # of squares, and of entries
        for part, size, square, counted in zip(parts, sizes, totals, mine, strict=True):
            if counted:
                sums[:, part] += torch.tensor((square, size), dtype=torch.float64)
        world.sum_(sums)
        squared, entries = sums[:, sums[1] > 0]
        return (squared / entries).max().sqrt().to(x)

    return norm


def time_gradient(f: VectorField, ts: Times, ys: States, cotangents: States, adjoint: State) -> Tensor:
    """dL/dts `(time,)` of the continuous problem, from the adjoint at ts[0] (its cotangent included).

    Moving a later output time moves its state along f; moving ts[0] moves the whole trajectory against it.
    """
    with torch.no_grad():
        # a field may give the same tensor each time, with other numbers; and it may differentiate by its state, which
        # must not be a view of what is being differentiated
        slopes = torch.stack(
            [f(t.detach().to(y.dtype), y.detach().clone()).clone() for t, y in zip(ts, ys, strict=True)]
        )
    by_ts = (cotangents * slopes).reshape(len(ts), -1).sum(1)
    by_ts[0] = -((adjoint - cotangents[0]) * slopes[0]).sum()
    return by_ts.to(ts)
