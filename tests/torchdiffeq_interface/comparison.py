"""What pynode.odeint and torchdiffeq are compared by: fields, outcomes with their gradients, lists of solvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from pynode.torchdiffeq_interface import odeint, odeint_adjoint

TS = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams", "fixed_adams")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
ALL = (None, *FIXED, *ADAPTIVE, "scipy_solver")
QUIET = [
    # torchdiffeq's own warnings
    pytest.mark.filterwarnings("ignore:Functional iteration did not converge"),
    pytest.mark.filterwarnings("ignore:The following arguments have no effect"),
    pytest.mark.filterwarnings("ignore:max_order is below"),
]
"""Marks of tests that call solvers which torchdiffeq warns of."""


class Net(nn.Module):
    """Linear layers, which autocast runs in bfloat16, or weights of a dtype of their own."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 2)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) / 2)
        self.to(dtype)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dtype = self.first.weight.dtype
        return self.last(torch.tanh(self.first(y.to(dtype)))) * torch.cos(t).to(dtype)


def outcome(solver: Callable[..., Any], func: Any, y0: Any, t: Tensor, **call: Any) -> list[Tensor]:
    """The states (part by part), and where they can be differentiated, the gradients by y0 and the parameters."""
    leaves = [p.clone().requires_grad_(p.is_floating_point()) for p in (y0 if isinstance(y0, tuple) else (y0,))]
    ys = solver(func, tuple(leaves) if isinstance(y0, tuple) else leaves[0], t, **call)
    parts = ys if isinstance(ys, tuple) else (ys,)
    if not any(p.requires_grad for p in parts):
        return [p.detach() for p in parts]
    inputs = [leaf for leaf in leaves if leaf.requires_grad]
    inputs += list(func.parameters()) if isinstance(func, nn.Module) else []
    loss = torch.stack([p.abs().double().square().sum() for p in parts]).sum()
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    return [*(p.detach() for p in parts), *gradients]


def gradient(parameter: Tensor) -> Tensor:
    """The gradient that `backward` has left."""
    assert parameter.grad is not None
    return parameter.grad


def assert_same(
    func: Callable[[], Any], y0: Any, t: Tensor, tolerance: float, *, adjoint: bool = False, **call: Any
) -> None:
    """The same by pynode and torchdiffeq: shapes, dtypes, values, gradients."""
    ours, theirs = (odeint_adjoint, torchdiffeq.odeint_adjoint) if adjoint else (odeint, torchdiffeq.odeint)
    got, wanted = outcome(ours, func(), y0, t, **call), outcome(theirs, func(), y0, t, **call)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = max(float(b.abs().double().max()) if b.numel() else 0.0, 1.0)
        assert not b.numel() or float((a.double() - b.double()).abs().max()) <= tolerance * scale


# --- dtypes ----------------------------------------------------------------------------------------------------------
