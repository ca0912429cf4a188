"""Solves of the zoo by two engines, and how far their results are apart."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pynode.methods.base import GradientMethod
from tests.zoo.entries import Entry

BATCH = 3


@dataclass(frozen=True)
class Result:
    """What a solve gave, and the gradients of a loss of it."""

    values: Tensor
    gradients: tuple[Tensor, ...]
    engine: str | None


def times(zoo_entry: Entry, *, backwards: bool = False) -> Tensor:
    """Three output times, at which no field of the zoo switches."""
    ts = torch.tensor([0.05, 0.42, 0.9], dtype=zoo_entry.dtype)
    return ts.flip(0) if backwards else ts


def with_gradients(values: Tensor, sources: Sequence[Tensor], engine: str | None) -> Result:
    """`values` and the gradients of a loss that weighs every entry of them differently."""
    weights = torch.cos(torch.arange(values.numel(), dtype=values.dtype)).reshape(values.shape)
    loss = (weights * values).sum() + values.square().sum()
    gradients = torch.autograd.grad(loss, list(sources), allow_unused=True, materialize_grads=True)
    return Result(values.detach(), gradients, engine)


def solved(zoo_entry: Entry, module: nn.Module, method: GradientMethod, ts: Tensor, batch: int = BATCH) -> Result:
    """The states at `ts`, with gradients by y0 and all parameters that want one."""
    torch.manual_seed(1)
    random.seed(1)
    y0 = zoo_entry.state(batch).requires_grad_()
    solution = method.solve(module, y0, ts)
    sources = [y0, *(p for p in module.parameters() if p.requires_grad)]
    return with_gradients(solution.ys, sources, solution.stats.engine)


def apart(a: Result, b: Result) -> float:
    """The largest relative difference of values and gradients, each tensor by its norm.

    Gradients that are all but zero beside the others are measured by those.
    """
    total = float(torch.stack([g.double().norm() for g in b.gradients]).norm())
    differences = [float((a.values - b.values).norm() / b.values.norm().clamp(min=1e-30))]
    for g, h in zip(a.gradients, b.gradients, strict=True):
        differences.append(float((g - h).double().norm()) / max(float(h.double().norm()), 1e-3 * total, 1e-30))
    return max(differences)


def apart_altogether(a: Result, b: Result) -> float:
    """The relative difference of the values, or of the gradients as one vector, which tolerances bound."""
    gradients = [torch.cat([g.double().reshape(-1) for g in result.gradients]) for result in (a, b)]
    pairs = ((a.values, b.values), (gradients[0], gradients[1]))
    return max(float((x - y).norm() / y.norm().clamp(min=1e-30)) for x, y in pairs)
