"""Gradients to compare with: of the continuous problem, and of a loss exactly as it was computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from pynode.studies.gradients.taylor import LossFunction, random_direction

LossOf = Callable[[GradientMethod], Tensor]
"""A scalar loss as a function of the method that solves for it."""

ROUNDING = 1e-4
"""Above this a change of the gradient is no rounding error."""

EPS = torch.finfo(torch.float64).eps
"""No gradient is known better than this."""

WEIGHTS = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
"""Central difference of order 6."""


def flat_gradient(loss: Tensor, params: Sequence[Tensor]) -> Tensor:
    """The gradient of `loss` by all `params` as one float64 vector."""
    grads = torch.autograd.grad(loss, params, allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(-1).double() for g in grads])


def continuous_gradient(
    loss: LossOf,
    params: Sequence[Tensor],
    *,
    target: float = 1e-11,
    max_steps: int = 1024,
    scheme: Scheme = RK4,
    first: int = 8,
    engine: str = "eager",
) -> tuple[Tensor, float]:
    """Gradient of the continuous problem, flat, and its estimated relative error.

    `scheme` with `first` steps per output interval, doubled until the gradient changes by less than `target` times 15
    (what order 4 leaves of an error when steps are halved; a scheme of higher order leaves less), or until `max_steps`,
    or until rounding makes the change grow again (growth of a large change only says that the steps are still too
    coarse).  By torch operators, whatever engine is judged, unless `engine` names another.  `scheme=DOPRI8, first=2`
    gives the same gradient for a fraction of the evaluations where the field is smooth.
    """

    def gradient_with(steps: int) -> Tensor:
        return flat_gradient(loss(DiscOpt(scheme, steps, memory="recompute", engine=engine)), params)

    steps, change = first, float("inf")
    gradient = gradient_with(steps)
    while steps < max_steps:
        steps *= 2
        finer = gradient_with(steps)
        before, change = change, float((finer - gradient).norm() / finer.norm())
        if change >= before and before < ROUNDING:
            return gradient, before
        gradient = finer
        if change < 15 * target:
            break
    return gradient, max(change / 15, EPS)


def discrete_error(loss: LossFunction, params: Sequence[Tensor], gradient: Tensor, *, directions: int = 4) -> float:
    """Relative error of `gradient` (flat) as the gradient of `loss()` as computed, along a few random directions.

    Directional derivatives come from central differences of order 6, good to about 1e-10 in float64.
    """
    before = [p.detach().clone() for p in params]
    wrong, size = 0.0, 0.0
    h = 2.0**-7
    try:
        with torch.no_grad():
            for seed in range(directions):
                direction = random_direction(params, seed)
                derivative = 0.0
                for k, weight in WEIGHTS:
                    for sign in (1, -1):
                        for p, b, v in zip(params, before, direction, strict=True):
                            p.copy_(b + sign * k * h * v)
                        derivative += sign * weight * float(loss()) / h
                claimed = float(gradient @ torch.cat([v.reshape(-1).double() for v in direction]))
                wrong, size = wrong + (claimed - derivative) ** 2, size + derivative**2
    finally:
        with torch.no_grad():
            for p, b in zip(params, before, strict=True):
                p.copy_(b)
    return (wrong / size) ** 0.5 if size else float(wrong > 0)
