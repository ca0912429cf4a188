"""How good a flow is: bits per dimension, inverse error, maximum mean discrepancy, probability mass."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pynode.errors import InvalidArgument, SolveError
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.types import State


def bits_per_dim(nll: float, dim: int, log_scale: float = 0.0) -> float:
    """-log2 p per dimension from `nll` (nats per sample).

    `log_scale`: log|det| of what preprocessing did to a sample, in nats.
    """
    return (nll - log_scale) / (dim * math.log(2))


@torch.no_grad()
def inverse_errors(
    flow: Flow,
    x: State,
    method: GradientMethod,
    *,
    back: GradientMethod | None = None,
    seed: int = 0,
    rows: int | None = None,
    on_failure: Callable[[SolveError], object] | None = None,
    context: Tensor | None = None,
) -> dict[str, float]:
    """Round-trip errors of `flow` solved by `method`, on `x` `(batch, dim)` and as many base samples.

    `inverse_data`: mean over samples of |f^-1(f(x)) - x|; `inverse_base`: of |f(f^-1(z)) - z|; each also as
    `..._frobenius`, the Frobenius norm over the batch divided by its size, as the original study has it.  Infinite
    where a solve fails, which `on_failure` is called with.

    `back` solves the second half of a round trip where that is another method: the distance between two
    discretisations of one flow.  `rows` samples are solved at once, all of them without it; the norms are those over
    all samples either way, but an adaptive solve takes its steps for the rows of one part.  `context` is that of `x`,
    and of the base samples too.
    """
    if not len(x):
        raise InvalidArgument("x", tuple(x.shape), "no samples", "pass one row or more")
    back, errors = method if back is None else back, {}
    size = len(x) if rows is None else rows
    for name, points, first in (("data", x, False), ("base", flow.base_samples(len(x), context, seed=seed), True)):
        total = squares = 0.0
        for i, part in enumerate(points.split(size)):
            given = context[i * size : (i + 1) * size] if context is not None and context.ndim > 1 else context
            try:
                there = flow.move(part, given, method=method, backwards=first)
                error = flow.move(there, given, method=back, backwards=not first) - part
            except SolveError as failure:
                if on_failure is not None:
                    on_failure(failure)
                total = squares = math.inf
                break
            norms = error.double().norm(dim=1)
            total, squares = total + float(norms.sum()), squares + float(norms.square().sum())
        errors[f"inverse_{name}"] = total / len(points)
        errors[f"inverse_{name}_frobenius"] = math.sqrt(squares) / len(points)
    return errors


@torch.no_grad()
def mmd(x: Tensor, y: Tensor) -> float:
    """Squared maximum mean discrepancy between samples `(n, dim)` and `(m, dim)`, unbiased, so it may be negative.

    Gretton et al. 2012, eq. 3, with the mean of five Gaussian kernels whose variances are 1/4, 1/2, 1, 2, 4 times the
    median squared distance within `y` (the data); where most rows of `y` coincide, the median over pairs that differ.
    Raises `InvalidArgument` for fewer than two rows, and where all of `y` coincide.
    """
    for name, rows in (("x", x), ("y", y)):
        if len(rows) < 2:
            raise InvalidArgument(name, tuple(rows.shape), "fewer than two samples", "pass more of them")
    x, y = x.double(), y.double()
    xx, yy, xy = (torch.cdist(a, b).square() for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    pairs = yy[~torch.eye(m, dtype=torch.bool, device=y.device)]
    median = pairs.median()
    if not median:
        if not bool((pairs > 0).any()):
            raise InvalidArgument("y", tuple(y.shape), "all samples are the same", "pass data that vary")
        median = pairs[pairs > 0].median()

    def kernel(squared: Tensor) -> Tensor:
        return torch.stack([torch.exp(-squared / (2 * factor * median)) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]).mean(
            0
        )

    within_x = (kernel(xx).sum() - n) / (n * (n - 1))
    within_y = (kernel(yy).sum() - m) / (m * (m - 1))
    return float(within_x + within_y - 2 * kernel(xy).mean())


def grid_points(low: float, high: float, n: int, like: Tensor) -> Tensor:
    """Centres `(n * n, 2)` of the cells of an n x n grid on [low, high]^2, the first coordinate varying slowest."""
    width = (high - low) / n
    centres = low + width * (torch.arange(n, dtype=torch.float64) + 0.5)
    return torch.cartesian_prod(centres, centres).to(device=like.device, dtype=like.dtype)


@torch.no_grad()
def density_on_grid(
    flow: Flow,
    low: float,
    high: float,
    n: int,
    method: GradientMethod | None = None,
    context: Tensor | None = None,
) -> Tensor:
    """p(. | `context` `(k,)`) at the points of `grid_points`, `(n, n)`; two dimensions only."""
    like = flow.like()
    points = grid_points(low, high, n, like)
    parts = [flow.log_prob(chunk, context, method=method, draw=Draw()).exp() for chunk in points.split(10_000)]
    return torch.cat(parts).reshape(n, n)


def mass_on_grid(density: Tensor, low: float, high: float) -> float:
    """Total probability of a density given on a grid: 1 if the grid holds it all and the flow is a density."""
    n = len(density)
    return float(density.double().sum()) * ((high - low) / n) ** 2
