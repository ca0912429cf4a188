"""Fields, states and gradients that tests compare between devices and engines."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import pynode
from pynode.flows.probes import DrawnAhead
from tests.conftest import SMALL_SPECS

STAND_IN = os.environ.get("PYNODE_GPU_TESTS", "")
"""The device to run on instead of a GPU; where it is empty, a GPU is needed."""

TIMES = (0.0, 0.3, 1.0)


class Result(NamedTuple):
    """States or log-densities, and the gradients of a loss by everything, on the CPU."""

    values: Tensor
    gradients: list[Tensor]
    engine: str


def field_on(name: str, device: torch.device, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A small field; the same numbers on every device."""
    spec = SMALL_SPECS[name]
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return spec.build(theta=0.6 * noise, dtype=dtype).to(device)


def states_for(name: str, device: torch.device, dtype: torch.dtype = torch.float64, rows: int = 5) -> Tensor:
    """A batch of initial states that want a gradient; the same numbers on every device."""
    shape = (rows, SMALL_SPECS[name].state_dim)
    states = 0.8 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(11))
    return states.to(device=device, dtype=dtype).requires_grad_()


def solved(method: Any, field: nn.Module, y0: Tensor) -> Result:
    """A solve, and the gradients of a weighted sum of all states."""
    solution = method.solve(field, y0, torch.tensor(TIMES, dtype=torch.float64, device=y0.device))
    weights = torch.linspace(0.5, 1.5, solution.ys.numel(), dtype=y0.dtype, device=y0.device)
    loss = (solution.ys * weights.reshape(solution.ys.shape)).sum()
    gradients = torch.autograd.grad(loss, [y0, *field.parameters()])
    return Result(solution.ys.detach().cpu(), [g.cpu() for g in gradients], solution.stats.engine)


def log_density(method: Any, name: str, device: torch.device, divergence: Any) -> Result:
    """Log-densities under a flow of one small field, with the same probes on every device, and the gradients."""
    field, x = field_on(name, device), states_for(name, device)
    flow = pynode.Flow([field], x.shape[1], horizon=0.7)
    probes = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(device)
    moved = flow.transport(x, method=method, divergence=divergence, draw=DrawnAhead(drawn=(probes,)))
    gradients = torch.autograd.grad(-moved.log_prob.mean(), [x, *field.parameters()])
    return Result(moved.log_prob.detach().cpu(), [g.cpu() for g in gradients], moved.solves[0].engine)


def assert_alike(mine: Result, other: Result, rtol: float = 1e-11) -> None:
    """Values and gradients are the same to `rtol`, relative to the largest entry of each."""
    for a, b in zip((mine.values, *mine.gradients), (other.values, *other.gradients), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=rtol * max(1.0, float(b.abs().max())))
    assert all(float(g.abs().max()) > 0 for g in other.gradients), "a gradient that is zero compares nothing"
