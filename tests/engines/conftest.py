"""What the tests of the engines share: the fused solve, the same solve by torch operators, and how they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.fused import unavailable
from pynode.engines.fused.engine import Fused
from pynode.engines.node import attach
from pynode.gradients import Discrete
from pynode.grid import TimeGrid
from pynode.solution import SolveStats
from pynode.solve import Recipe, Solve
from pynode.steps import Fixed


@pytest.fixture
def needs_fused() -> None:
    """Skips the test where the kernels can't run, and says why."""
    if reason := unavailable():
        pytest.skip(reason)


@pytest.fixture
def fused(needs_fused: None) -> Callable[..., Tensor]:  # noqa: ARG001
    """`fused(module, scheme, ts, steps, y0, memory, stats)`: the states by the kernels."""

    def run(
        module: nn.Module, scheme: Any, ts: Tensor, steps: Any, y0: Tensor, memory: Any = "store", stats: Any = None
    ) -> Tensor:
        return _by_kernels(module, Recipe(scheme, Fixed(steps), Discrete(memory)), y0, ts, stats)

    return run


@pytest.fixture
def adaptive_solve(needs_fused: None) -> Callable[..., Tensor]:  # noqa: ARG001
    """`adaptive_solve(module, options, y0, ts, stats)`: the states by the kernels."""

    def run(module: nn.Module, options: Any, y0: Tensor, ts: Tensor, stats: Any = None) -> Tensor:
        return _by_kernels(module, options.recipe, y0, ts, stats)

    return run


def _by_kernels(module: nn.Module, recipe: Recipe, y0: Tensor, ts: Tensor, stats: SolveStats | None) -> Tensor:
    stats = SolveStats() if stats is None else stats
    return attach(Fused().run(Solve(module, y0, ts, recipe, wants_gradient=torch.is_grad_enabled(), stats=stats)))


@pytest.fixture
def differs(fused: Callable[..., Tensor]) -> Callable[..., float]:
    """`differs(module, scheme, ts, steps, y0, memory)`: the largest relative difference between kernels and operators.

    Compared are the states and, for random cotangents of these, the gradients by y0 and by each parameter.
    """

    def compare(
        module: nn.Module, scheme: Any, ts: Tensor, steps: Any, y0: Tensor, memory: Any = "store", stats: Any = None
    ) -> float:
        y0 = y0.clone().requires_grad_()
        sources = [y0, *(p for p in module.parameters() if p.requires_grad)]
        wanted = scheme.solve(module, y0, TimeGrid.between(ts, steps))
        states = fused(module, scheme, ts, steps, y0, memory, stats)
        assert states.shape == wanted.shape
        assert states.dtype == wanted.dtype
        cotangents = torch.randn(wanted.shape, dtype=wanted.dtype, generator=torch.Generator().manual_seed(5))
        by = [
            torch.autograd.grad(ys, sources, cotangents, materialize_grads=True, allow_unused=True)
            for ys in (states, wanted)
        ]
        assert [g.shape for g in by[0]] == [s.shape for s in sources]
        pairs = [(states.detach(), wanted.detach()), *zip(*by, strict=True)]
        return max(float((a - b).norm() / b.norm().clamp(min=1e-30)) for a, b in pairs)

    return compare
